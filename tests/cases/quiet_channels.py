"""RMSNorm of rows that are nothing, next to nothing, and a thousand times the others."""

from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList([nn.RMSNorm(16, eps=1e-6), nn.RMSNorm(16, eps=1e-2), nn.RMSNorm(16)])
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return [self.head(norm(x.relu())) for norm in self.norms]


SPEC = {
    "inputs": {"x": {"shape": ["batch", 3, 16], "fill": "normal"}},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 4}},
}


def inputs(rng):
    x = rng.standard_normal((4, 3, 16), "float32")
    x[0] = 0
    x[1] *= 1e-4
    x[2, :, 3] *= 1000
    yield {"x": x}
