"""Pooling whose last windows hang over the edge, with and without padding that counts."""

from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.pools = nn.ModuleList(
            [
                nn.AvgPool2d(3, 2, ceil_mode=True),
                nn.AvgPool2d(3, 2, 1, ceil_mode=True),
                nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
                nn.MaxPool2d(3, 2, ceil_mode=True),
            ]
        )

    def forward(self, x):
        y = self.conv(x)
        return [pool(y) for pool in self.pools]


SPEC = {
    "inputs": {"x": {"shape": ["batch", 3, 10, 12], "fill": "normal"}},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 4}},
}


def inputs(rng):
    for b in (1, 3):
        yield {"x": rng.standard_normal((b, 3, 10, 12), "float32")}
