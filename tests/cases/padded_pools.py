"""Zeros around a picture before its largest values are taken; its smallest, its means; other values than zero."""

from torch import nn
from torch.nn import functional as F  # noqa: N812


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        y = self.conv(x)
        return {
            "largest": F.max_pool2d(F.pad(y, (1, 1, 1, 1)), 3, 2),
            "two": F.max_pool2d(F.pad(y, (0, 1, 0, 1)), 2, 2),
            "half": F.max_pool2d(F.pad(y, (1, 1, 1, 1), value=0.5), 3, 2),
            "smallest": -F.max_pool2d(F.pad(-y, (1, 0, 1, 0)), 2),
            "mean": F.avg_pool2d(F.pad(y, (1, 1, 1, 1)), 3, 2),
            "within": F.max_pool2d(y, 3, 2, padding=1),
        }


SPEC = {
    "inputs": {"x": {"shape": ["batch", 3, "size", 12], "fill": "normal"}},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 3}, "size": {"min": 8, "opt": 14, "max": 32, "multiple": 2}},
}


def inputs(rng):
    for b, n in [(1, 8), (3, 32), (2, 10)]:
        yield {"x": rng.standard_normal((b, 3, n, 12), "float32")}
