"""Attention by hand, with zeros and infinities that are made of a mask's shape."""

import numpy as np
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x, mask):
        hidden = mask[:, None, :] == 0
        bias = torch.zeros_like(hidden, dtype=x.dtype).masked_fill(hidden, float("-inf"))
        scores = self.q(x) @ self.k(x).transpose(1, 2) / 4 + bias
        return torch.full_like(mask, 2, dtype=torch.float32)[..., None] * (scores.softmax(-1) @ x)


SPEC = {
    "inputs": {
        "x": {"shape": ["batch", "t", 16], "fill": "normal"},
        "mask": {"shape": ["batch", "t"], "dtype": "int64", "fill": "mask"},
    },
    "dims": {"batch": {"min": 1, "opt": 2, "max": 4}, "t": {"min": 2, "opt": 6, "max": 16}},
}


def inputs(rng):
    mask = np.ones((3, 9), np.int64)
    mask[1, 3:], mask[2, :4] = 0, 0
    yield {"x": rng.standard_normal((3, 9, 16), "float32"), "mask": mask}
