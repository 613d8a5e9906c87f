"""Roots, shares and logarithms that are close to where they end, and numbers that are close to nothing."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 16, bias=False)

    def forward(self, x):
        y = self.head(x).relu()
        spread = y.var(-1, keepdim=True, unbiased=False)
        return {
            "normal": (y - y.mean(-1, keepdim=True)) * torch.rsqrt(spread + 1e-10),
            "share": y / y.sum(-1, keepdim=True).clamp_min(1e-12),
            "loud": torch.log1p(y),
            "grown": torch.expm1(x),
            "inverse": 1 / (1e-6 + y.amax(-1)),
        }


SPEC = {
    "inputs": {"x": {"shape": ["batch", 8], "fill": "normal"}},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 6}},
}


def inputs(rng):
    x = rng.standard_normal((5, 8), "float32")
    yield {"x": x}
    yield {"x": (x * 1e-3).astype("float32")}
    x[2] = 0
    yield {"x": x}
