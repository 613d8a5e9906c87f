"""Identifiers of many digits, negative ones too, hashed into a table; their sum and range."""

import numpy as np
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(101, 8)

    def forward(self, ids):
        return self.embed(torch.remainder(ids * 31 + 7, 101)).mean(1), ids.sum(1), ids.amax(1) - ids.amin(1)


SPEC = {
    "inputs": {"ids": {"shape": ["batch", "t"], "dtype": "int64", "fill": {"integers": [-50_000_000, 50_000_000]}}},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 4}, "t": {"min": 1, "opt": 5, "max": 12}},
}


def inputs(rng):
    for k in range(12):
        yield {"ids": rng.integers(-50_000_000, 50_000_000, (1 + k % 4, 1 + k))}
    yield {"ids": np.array([[-50_000_000, 49_999_999, 0, -1, 1]])}
