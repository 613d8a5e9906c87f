"""Outputs and an input that have the names of operators and of an exporter's values."""

from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 8)

    def forward(self, mul):
        y = self.head(mul) - mul.amax(-1, keepdim=True)
        return {"sub": y.relu(), "linear": y.exp(), "val_1": y.softmax(-1), "add": (y + 1).sum(-1)}


SPEC = {
    "inputs": {"mul": {"shape": ["batch", 8], "fill": "normal"}},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 6}},
}


def inputs(rng):
    for b in (1, 5):
        yield {"mul": rng.standard_normal((b, 8), "float32")}
