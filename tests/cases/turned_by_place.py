"""Rotary positions by halves, made of the length of the text."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(16, 16)
        self.register_buffer("rates", 1 / 10000 ** (torch.arange(0, 8, 2) / 8), persistent=False)

    def forward(self, x):
        q = self.q(x).unflatten(-1, (2, 8)).transpose(1, 2)
        angles = torch.arange(x.shape[1])[:, None] * self.rates
        angles = torch.cat([angles, angles], -1)
        one, other = q.chunk(2, -1)
        return q * angles.cos() + torch.cat([-other, one], -1) * angles.sin()


SPEC = {
    "inputs": {"x": {"shape": ["batch", "t", 16], "fill": "normal"}},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 4}, "t": {"min": 1, "opt": 8, "max": 64}},
}


def inputs(rng):
    for b, t in [(1, 1), (4, 1), (1, 64), (3, 13)]:
        yield {"x": rng.standard_normal((b, t, 16), "float32")}
