"""A small classifier of 8×8 grey digits."""

import torch
from torch import nn


class Digits(nn.Module):
    """Logits of shape (batch, 10) for images of shape (batch, 1, 8, 8), values in 0..1."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(image).mean((2, 3)))
