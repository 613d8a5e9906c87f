"""Numbers of no dimension of three types, in and out."""

import numpy as np
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x, step, flipped):
        y = self.head(x) + step / 1000
        y = torch.where(flipped, -y, y)
        return {
            "y": y,
            "any": (y > 1).any(),
            "count": (y > 0).sum(),
            "mean": y.mean(),
            "next": step + 1,
            "t": self.scale.exp(),
        }


SPEC = {
    "inputs": {
        "x": {"shape": ["batch", 8], "fill": "normal"},
        "step": {"shape": [], "dtype": "int64", "fill": {"integers": [0, 1000]}},
        "flipped": {"shape": [], "dtype": "bool", "fill": {"integers": [0, 2]}},
    },
    "dims": {"batch": {"min": 1, "opt": 2, "max": 6}},
}


def inputs(rng):
    for b, flipped in [(1, True), (5, False)]:
        yield {"x": rng.standard_normal((b, 8), "float32"), "step": np.array(7 * b), "flipped": np.array(flipped)}
