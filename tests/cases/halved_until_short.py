"""A loop that goes on while the sound is long."""

from torch import nn
from torch.nn.functional import max_pool1d


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 4, 3, padding=1)

    def forward(self, x):
        while x.shape[2] > 6:
            x = self.conv(max_pool1d(x, 2))
        return x.amax(2)


SPEC = {
    "inputs": {"x": {"shape": ["batch", 4, "t"], "fill": "normal"}},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 4}, "t": {"min": 4, "opt": 10, "max": 40}},
}


def inputs(rng):
    for b, t in [(1, 4), (4, 40), (3, 13), (2, 8)]:
        yield {"x": rng.standard_normal((b, 4, t), "float32")}
