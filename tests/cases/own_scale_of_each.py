"""Instances normalised by statistics that were kept, and by their own."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.kept = nn.InstanceNorm2d(4, track_running_stats=True, affine=True)
        self.own = nn.InstanceNorm2d(4, eps=1e-2)
        self.kept.running_mean.copy_(torch.tensor([1.0, -1.0, 0.5, 2.0]))
        self.kept.running_var.copy_(torch.tensor([2.0, 0.1, 0.5, 3.0]))

    def forward(self, x):
        y = self.conv(x)
        return self.kept(y), self.own(y)


SPEC = {
    "inputs": {"x": {"shape": ["batch", 3, 6, 7], "fill": "normal"}},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 4}},
}


def inputs(rng):
    x = rng.standard_normal((3, 3, 6, 7), "float32")
    yield {"x": x}
    x[:, :, 2:] = 0
    yield {"x": x}
