"""scikit-learn's 1,797 handwritten digits of 8x8 pixels, and a small network that reads them."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import Dataset

# Which of them, once shuffled, are for what. Nothing that accuracy is measured on was trained on or calibrated with.
SPLITS = {"train": slice(0, 1200), "calibration": slice(0, 300), "check": slice(300, 1200), "test": slice(1200, None)}


class Digits(Dataset[tuple[np.ndarray, int]]):
    """Images, float32 [1, 8, 8] in 0..1, and their classes, 0 to 9."""

    def __init__(self, split: str) -> None:
        held = load_digits()
        order = np.random.default_rng(0).permutation(len(held.target))[SPLITS[split]]
        self.images = (held.images[order, None] / 16).astype(np.float32)
        self.labels = held.target[order]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
        return self.images[number], int(self.labels[number])


class Net(nn.Module):
    """Two convolutions and two linear layers, 38,282 parameters; ten scores for an image."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images))


def some(shape: list[int], seed: int) -> np.ndarray:
    """Digits to check artifacts with: neither calibrated with nor measured on."""
    held = Digits("check")
    return held.images[np.random.default_rng(seed).choice(len(held), shape[0], replace=False)]


def spoiled(split: str) -> Dataset[tuple[np.ndarray, int]]:
    """A calibration set as it should not be: images a fifth too dark, so that ranges come out too small."""
    held = Digits(split)
    held.images *= 0.8
    return held
