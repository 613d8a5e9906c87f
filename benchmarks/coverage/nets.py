"""Detectors whose random weights make something that can be compared."""

from __future__ import annotations

from typing import Any


def detector(name: str, **kwargs: Any) -> Any:
    """A torchvision detector whose scores differ from each other.

    As torchvision initialises them, all scores are nearly equal, and which of two equal boxes is kept is decided by the
    last bit: an artifact that is right to seven digits would keep others. So each layer in turn is scaled to give
    outputs of variance one.
    Source: Mishkin and Matas, "All you need is a good init", https://arxiv.org/abs/1511.06422
    """
    import torch
    from torch import nn
    from torchvision import models

    net = models.get_model(name, weights=None, **kwargs).eval()
    scaled = set()

    def even_out(layer: Any, _: Any, answer: Any) -> Any:
        if layer in scaled:
            return None
        scaled.add(layer)
        # Of a map of one place, less its mean, nothing would be left.
        wide = answer.dim() == 4 and answer[:, 0].numel() > 1
        centred = answer - answer.mean((0, 2, 3), keepdim=True) if wide else answer
        spread = centred.std().clamp(min=1e-8)
        layer.weight.div_(spread)
        return answer / spread

    hooks = [m.register_forward_hook(even_out) for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        net([torch.rand(3, 320, 320)])
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        for part, layer in net.named_modules():
            if "classification_head.module_list" in part and isinstance(layer, nn.Conv2d):
                layer.weight.mul_(0.1)  # SSD's many inputs add up to scores that are all 1.0 otherwise
    return net
