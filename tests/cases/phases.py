"""Complex numbers turned by angles, their magnitudes, and a number that is nothing."""

import numpy as np
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 8)

    def forward(self, x):
        y = self.head(x)
        z = torch.complex(y[..., :4], y[..., 4:]) * torch.polar(torch.ones(4), torch.arange(4.0))
        return torch.view_as_real(z).flatten(-2), z.abs()


SPEC = {
    "inputs": {"x": {"shape": ["batch", 8], "fill": "normal"}},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 6}},
}


def inputs(rng):
    yield {"x": rng.standard_normal((5, 8), "float32")}
    yield {"x": np.zeros((2, 8), "float32")}
