"""Models small enough to be made in code, and a factory of none. What imports this imports torch alone."""

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
    """Works for a batch of two and for no other."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.reshape(2, 4))


class FrozenBatch(FixedBatch):
    """Works for every batch, but a capture freezes the one that it is shown."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.reshape(int(x.shape[0]), -1))


class ValueBranch(FixedBatch):
    """Takes one of two ways, depending on the values it is given."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x) if x.sum() > 0 else -self.head(x)


class GraphBranch(FixedBatch):
    """The same with torch.cond, which a graph can hold: its two ways are subgraphs of a node."""

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
    """Normalises in place, as many a model's first line does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.sub_(0.5).div_(0.25))


class Dies(FixedBatch):
    """Ends its process when it is asked, as a crash in native code would, with a word to stderr."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        os.write(2, b"no more memory for the likes of you\n")
        os._exit(3)


class Chatty(FixedBatch):
    """Says something to stdout, from Python and from below it, whenever it is asked."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        print("hello")
        os.write(1, b"hello\n")
        return self.head(x)


class Unpicklable(FixedBatch):
    """Holds what no pickle can."""

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
    """A factory that returns something else."""
    return {}
