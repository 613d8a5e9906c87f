"""Causal attention, and attention with a mask of numbers of which a whole row is minus infinity."""

import numpy as np
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(16, 48)

    def forward(self, x, bias):
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4).unbind(0)
        bias = bias[:, None].masked_fill(bias[:, None] > 1, float("-inf"))
        return scaled_dot_product_attention(q, k, v, is_causal=True), scaled_dot_product_attention(q, k, v, bias)


SPEC = {
    "inputs": {
        "x": {"shape": ["batch", "t", 16], "fill": "normal"},
        "bias": {"shape": ["batch", "t", "t"], "fill": "normal"},
    },
    "dims": {"batch": {"min": 1, "opt": 2, "max": 4}, "t": {"min": 2, "opt": 8, "max": 20}},
}


def inputs(rng):
    for b, t in [(1, 2), (4, 20), (3, 13)]:
        bias = 0.1 * rng.standard_normal((b, t, t), "float32")
        bias[0, t // 2] = 5
        bias[:, :, t - 1] = 7
        yield {"x": rng.standard_normal((b, t, 16), "float32"), "bias": np.array(bias, "float32")}
