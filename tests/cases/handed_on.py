"""Returns an input, one tensor twice, a buffer and None, in dicts and lists."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 8)
        self.register_buffer("anchors", torch.arange(6.0).view(2, 3))

    def forward(self, x):
        y = self.head(x)
        return {
            "in": x,
            "hidden": {"first": y, "last": y, "none": None},
            "anchors": self.anchors,
            "others": [y.relu(), None, (y.detach(),)],
        }


SPEC = {
    "inputs": {"x": {"shape": ["batch", 8], "fill": "normal"}},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 6}},
}


def inputs(rng):
    for b in (1, 5):
        yield {"x": rng.standard_normal((b, 8), "float32")}
