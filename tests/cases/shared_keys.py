"""Fewer heads of keys than of queries, of another length, on a scale of its own."""

from torch import nn
from torch.nn.functional import scaled_dot_product_attention


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.kv = nn.Linear(16, 32), nn.Linear(16, 32)

    def forward(self, x, memory):
        q = self.q(x).unflatten(-1, (4, 8)).transpose(1, 2)
        k, v = self.kv(memory).unflatten(-1, (2, 2, 8)).permute(2, 0, 3, 1, 4).unbind(0)
        return scaled_dot_product_attention(q, k, v, scale=0.5, enable_gqa=True).transpose(1, 2).flatten(2)


SPEC = {
    "inputs": {
        "x": {"shape": ["batch", "t", 16], "fill": "normal"},
        "memory": {"shape": ["batch", "m", 16], "fill": "normal"},
    },
    "dims": {
        "batch": {"min": 1, "opt": 2, "max": 4},
        "t": {"min": 1, "opt": 8, "max": 20},
        "m": {"min": 1, "opt": 6, "max": 20},
    },
}


def inputs(rng):
    for b, t, m in [(1, 1, 1), (4, 1, 20), (1, 20, 1), (3, 13, 7), (2, 7, 13)]:
        yield {
            "x": rng.standard_normal((b, t, 16), "float32"),
            "memory": rng.standard_normal((b, m, 16), "float32"),
        }
