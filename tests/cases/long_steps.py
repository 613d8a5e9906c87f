"""Windows that are shorter than the steps between them, over a length that is open, in ceil mode."""

from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 1)
        self.pools = nn.ModuleList(
            [
                nn.MaxPool1d(2, 3, ceil_mode=True),
                nn.MaxPool1d(4, 3, 1, ceil_mode=True),
                nn.AvgPool1d(4, 3, 1, ceil_mode=True, count_include_pad=False),
                nn.AvgPool1d(3, 2, 1, ceil_mode=True),
            ]
        )

    def forward(self, x):
        y = self.conv(x)
        return [pool(y) for pool in self.pools]


SPEC = {
    "inputs": {"x": {"shape": ["batch", 3, "t"], "fill": "normal"}},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 4}, "t": {"min": 5, "opt": 11, "max": 20}},
}


def inputs(rng):
    for t in range(5, 21):
        yield {"x": rng.standard_normal((2, 3, t), "float32") - 3}
