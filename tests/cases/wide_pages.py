"""A picture that is more than twice as wide as high is folded: a branch on the ratio of two dimensions."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        if x.shape[3] > 2 * x.shape[2]:
            x = torch.cat(x.chunk(2, dim=3), dim=2)
        return self.conv(x).mean((2, 3))


SPEC = {
    "inputs": {"x": {"shape": ["batch", 3, "h", "w"], "fill": "normal"}},
    "dims": {
        "batch": {"min": 1, "opt": 2, "max": 3},
        "h": {"min": 8, "opt": 16, "max": 24},
        "w": {"min": 8, "opt": 16, "max": 64, "multiple": 2},
    },
}


def inputs(rng):
    for b, h, w in [(1, 8, 64), (3, 24, 8), (2, 10, 22), (2, 10, 20)]:
        yield {"x": rng.standard_normal((b, 3, h, w), "float32")}
