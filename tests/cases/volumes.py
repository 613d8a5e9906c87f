"""Volumes pooled over the edge by three, with padding and without."""

from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(2, 4, 1)
        self.pools = nn.ModuleList(
            [
                nn.MaxPool3d(3, 3, 1, ceil_mode=True),
                nn.AvgPool3d(3, 2, ceil_mode=True, count_include_pad=False),
            ]
        )

    def forward(self, x):
        y = self.conv(x)
        return [pool(y) for pool in self.pools]


SPEC = {
    "inputs": {"x": {"shape": ["batch", 2, 6, 9, 8], "fill": "normal"}},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 3}},
}


def inputs(rng):
    for b in (1, 3):
        yield {"x": rng.standard_normal((b, 2, 6, 9, 8), "float32") - 2}
