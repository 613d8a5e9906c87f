"""Random weights that a check can work with: answers depend on the inputs, and rounding does not decide them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

FAINT = 0.1  # the mean scale of a norm: the answer of a deep model would vanish
NEAR_ZERO = 1e-4  # the largest number of a bias
WILD = 1e3  # the standard deviation of a norm's answers, where it should be 1


def enliven(module: torch.nn.Module, seed: int, only: Collection[str] | None = None) -> None:
    """Changes random weights so that answers depend on the inputs; otherwise checks would prove nothing.

    Every weight matrix that a factory left at zero, such as the head of torchvision's ViT, is drawn from N(0, 0.02):
    a model whose last matrix is zero answers zero to everything. And a batch norm without statistics divides by the
    standard deviation that follows from its convolution's weights, instead of by one: otherwise one part in ten million
    of inception_v3's input reaches its answer. Its scale is one, if the library drew it near zero: transformers draws
    that of EfficientNet from N(0, 0.02), and then nothing of the input reaches the answer. Biases that were drawn near
    zero, as MLP-Mixer's, are N(0, 0.02) too: at an input of zeros, nothing else is there. Where activations of a timm
    model still grow a thousandfold (GhostNetV3 adds branches), each norm divides by what it sees of a drawn picture and
    of its negative.

    Args:
        module: A module with the weights of its factory.
        seed: The seed of the draw.
        only: The names of the parameters and buffers that are random; None for all.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            zero = parameter.dim() >= 2 and parameter.is_floating_point() and not parameter.any()
            near = name.endswith("bias") and parameter.is_floating_point() and 0 < parameter.abs().max() < NEAR_ZERO
            if (zero or near) and (only is None or name in only):
                parameter.normal_(0.0, 0.02, generator=generator)
        if only is None:
            _scale_norms(module)
            _tame(module, generator)


def _scale_norms(module: torch.nn.Module) -> None:
    """Scales each norm for inputs that are uncorrelated and of variance one, which the norm before it ensures."""
    import torch

    before = None
    for part in module.modules():
        if isinstance(part, (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.Linear)):
            before = part.weight
        elif isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            mean, var = part.running_mean, part.running_var
            fresh = mean is not None and var is not None and not mean.any() and torch.equal(var, torch.ones_like(var))
            if fresh and before is not None and len(before) == part.num_features:
                part.running_var = before.square().flatten(1).sum(1).clamp_min(1e-6)
                if part.weight is not None and part.weight.abs().mean() < FAINT:
                    part.weight.fill_(1.0)
            before = None


def _tame(module: torch.nn.Module, generator: torch.Generator) -> None:
    """Sets the variances of batch norms to those of a drawn picture and its negative, where they are far too small.

    To the nearest power of two: an ulp more or less, on another machine, makes no other weights.
    """
    import torch

    size = (getattr(module, "pretrained_cfg", None) or {}).get("input_size")
    norms = [p for p in module.modules() if isinstance(p, torch.nn.modules.batchnorm._BatchNorm)]
    norms = [n for n in norms if n.running_var is not None]
    if size is None or not norms:
        return
    training = {part for part in module.modules() if part.training}
    module.eval()
    try:
        picture = torch.rand(1, *size, generator=generator)
        _settle(module, norms, torch.cat([picture, -picture]))
    except Exception as e:  # a model raises anything: the reference says so, with its inputs
        log.info("the model does not answer to one picture: its norms stay as they are", exc_info=e)
    finally:
        for part in training:
            part.training = True


def _settle(module: torch.nn.Module, norms: Sequence[Any], picture: torch.Tensor) -> None:
    import torch

    seen: list[float] = []

    def look(norm: Any, _: Any, answer: Any) -> None:
        seen.append(answer.std().item())

    def settle(norm: Any, given: Any) -> None:
        second = given[0].transpose(0, 1).flatten(1).square().mean(1)
        norm.running_var = torch.exp2(second.mean().clamp_min(1e-6).log2().round()).expand_as(second).clone()

    _watched(module, picture, [n.register_forward_hook(look) for n in norms])
    if max(seen, default=0.0) > WILD:
        _watched(module, picture, [n.register_forward_pre_hook(settle) for n in norms])


def _watched(module: torch.nn.Module, picture: torch.Tensor, hooks: Sequence[Any]) -> None:
    module(picture)
    for hook in hooks:
        hook.remove()
