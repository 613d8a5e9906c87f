"""Inputs and outputs that have the names of words of a format's language."""

from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 8)

    def forward(self, state, func):
        y = self.head(state)
        return {"tensor": y + func, "true": y.relu(), "string": y.mean(-1)}


SPEC = {
    "inputs": {name: {"shape": ["batch", 8], "fill": "normal"} for name in ("state", "func")},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 6}},
}


def inputs(rng):
    for b in (1, 5):
        yield {name: rng.standard_normal((b, 8), "float32") for name in ("state", "func")}
