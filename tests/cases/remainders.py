"""Remainders of negative numbers, by one and by a negative one, of whole numbers and fractions."""

import numpy as np
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 8)

    def forward(self, x, n):
        y = 3 * self.head(x)
        return y % 1, y % 2.5, torch.remainder(y, -1.5), y // 1, n % 7, n % -3, n % 1, n // 4, n // -7


SPEC = {
    "inputs": {
        "x": {"shape": ["batch", 8], "fill": "normal"},
        "n": {"shape": ["batch", 8], "dtype": "int64", "fill": {"integers": [-100, 100]}},
    },
    "dims": {"batch": {"min": 1, "opt": 2, "max": 6}},
}


def inputs(rng):
    yield {"x": rng.standard_normal((5, 8), "float32"), "n": rng.integers(-100, 100, (5, 8))}
    yield {"x": np.zeros((1, 8), "float32"), "n": np.array([[-7, -3, 0, 3, 7, -1, 1, 6]])}
