"""Detectors whose random weights make something that can be compared."""

from __future__ import annotations

from typing import Any


def detector(name: str, **kwargs: Any) -> Any:
    """A torchvision detector whose scores differ from each other.

    As torchvision initialises them, all scores are nearly equal, and which of two equal ones is kept is decided by the
    last bit: an artifact that is right to seven digits would keep others.
    """
    import torch
    from torchvision import models

    net = models.get_model(name, weights=None, **kwargs)
    with torch.no_grad():
        for part, parameter in net.named_parameters():
            if parameter.dim() >= 2 and not part.startswith("backbone.body"):
                torch.nn.init.kaiming_normal_(parameter)
    return net
