"""Small models, and a factory that returns no module. This module imports only torch."""

from __future__ import annotations

import os

import torch
from torch import nn


class TinyConv(nn.Module):
    """Convolution, batch norm, ReLU, mean, linear: 10 logits for an image."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        if classes < 1:
            raise ValueError(f"classes is {classes}")
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, classes)
        # Statistics as after some training: with 0 and 1 a norm that was dropped on the way would go unnoticed.
        self.norm.running_mean = torch.linspace(-0.2, 0.2, 4)
        self.norm.running_var = torch.linspace(0.5, 2.0, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


class TwoOutputs(TinyConv):
    """Logits and the features that they come from."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.norm(self.conv(x)).relu()
        return self.head(features.mean((2, 3))), features


class FixedBatch(nn.Module):
    """Works only for a batch of two."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.reshape(2, 4))


class FrozenBatch(FixedBatch):
    """Works for every batch, but a capture freezes the batch of its example."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.reshape(int(x.shape[0]), -1))


class ValueBranch(FixedBatch):
    """Takes one of two branches, depending on the input's values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x) if x.sum() > 0 else -self.head(x)


class GraphBranch(FixedBatch):
    """A branch on values with torch.cond, which a graph can contain: its two branches are subgraphs of a node."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cond(x.sum() > 0, lambda v: self.head(v), lambda v: -self.head(v), (x,))


class Attention(nn.Module):
    """An encoder layer, whose fast path is one fused operator in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class WritesIntoItsInput(FixedBatch):
    """Normalises its input in place, as the first line of many models does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.sub_(0.5).div_(0.25))


class Dies(FixedBatch):
    """Ends its process in forward, as a crash in native code would, with a word on stderr."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        os.write(2, b"no more memory for the likes of you\n")
        os._exit(3)


class Chatty(FixedBatch):
    """Prints to stdout in each forward, from Python and from native code."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        print("hello")
        os.write(1, b"hello\n")
        return self.head(x)


class Unpicklable(FixedBatch):
    """Has an attribute that cannot be pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = lambda x: x.relu()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.head(x))


class Bessel(FixedBatch):
    """Ends with an operator that no translation of torch's graphs to OpenVINO has."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(self.head(x))


def not_a_module() -> dict[str, int]:
    """A factory that returns no module."""
    return {}
