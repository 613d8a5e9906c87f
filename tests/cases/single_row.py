"""A batch of one is answered otherwise, and only where it is long."""

from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        y = self.head(x)
        if len(x) == 1 and x.size(1) >= 16:
            y = y - y.mean(1, keepdim=True)
        return y


SPEC = {
    "inputs": {"x": {"shape": ["batch", "t", 8], "fill": "normal"}},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 4}, "t": {"min": 2, "opt": 10, "max": 20}},
}


def inputs(rng):
    for b, t in [(1, 2), (1, 16), (1, 20), (4, 20)]:
        yield {"x": rng.standard_normal((b, t, 8), "float32")}
