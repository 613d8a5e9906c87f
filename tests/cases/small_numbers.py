"""Small numbers that keep fractions, roots and logarithms finite: a silent frame, a black picture."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 8, bias=False)

    def forward(self, x):
        y = self.head(x).relu()
        energy = y.pow(2).mean(-1, keepdim=True)
        return {
            "level": torch.log10(energy + 1e-10),
            "flat": y * torch.rsqrt(energy + 1e-9),
            "share": y / (y.sum(-1, keepdim=True) + 1e-12),
            "entropy": -(y * torch.log(y + 1e-9)).sum(-1),
        }


SPEC = {
    "inputs": {"x": {"shape": ["batch", 8], "fill": "normal"}},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 6}},
}


def inputs(rng):
    x = rng.standard_normal((5, 8), "float32")
    yield {"x": x}
    x[1] = 0
    yield {"x": x}
