"""Weights drawn to look trained: a few large ones among many small, and measured statistics of batch norms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

TAIL = 4  # degrees of freedom of Student's distribution: of 10,000 weights, one is some ten times the usual
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm1d, nn.InstanceNorm2d)


def trained(net: nn.Module, seed: int, examples: Sequence[tuple[Tensor, ...]] = ()) -> nn.Module:
    """The module, in place.

    Args:
        net: Whatever its weights are, they are drawn anew.
        seed: For what is drawn.
        examples: Batches of inputs that batch norms measure; they are drawn under the same seed by whoever calls.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in net.modules():
            for name, parameter in module.named_parameters(recurse=False):
                parameter.copy_(_drawn(module, name, parameter))
    _measure(net, examples)
    return net.eval()


def _drawn(module: nn.Module, name: str, parameter: Tensor) -> Tensor:
    if isinstance(module, NORMS):
        return float(name == "weight") + 0.2 * torch.randn_like(parameter)
    if isinstance(module, nn.PReLU):
        return 0.1 + 0.2 * torch.rand_like(parameter)
    if parameter.dim() < 2:
        return 0.1 * torch.randn_like(parameter)
    spread = 0.5 if isinstance(module, nn.Embedding) else 1 / math.sqrt(parameter[0].numel())
    values = spread * torch.distributions.StudentT(TAIL).sample(parameter.shape) / math.sqrt(TAIL / (TAIL - 2))
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        values[module.padding_idx] = 0
    return values


def _measure(net: nn.Module, examples: Sequence[tuple[Tensor, ...]]) -> None:
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    net.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the average of all batches
        norm.train()
    with torch.no_grad():
        for inputs in examples if norms else ():
            net(*inputs)
