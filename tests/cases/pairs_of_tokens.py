"""Attention where each token says which others it sees: some see none."""

import numpy as np
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(16, 48)

    def forward(self, x, sees):
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4).unbind(0)
        return scaled_dot_product_attention(q, k, v, sees[:, None], scale=0.3).transpose(1, 2).flatten(2)


SPEC = {
    "inputs": {
        "x": {"shape": ["batch", "t", 16], "fill": "normal"},
        "sees": {"shape": ["batch", "t", "t"], "dtype": "bool", "fill": "mask"},
    },
    "dims": {"batch": {"min": 1, "opt": 2, "max": 4}, "t": {"min": 2, "opt": 6, "max": 16}},
}


def inputs(rng):
    sees = rng.random((3, 9, 9)) > 0.6
    sees[:, 2], sees[1] = False, False
    yield {"x": rng.standard_normal((3, 9, 16), "float32"), "sees": np.array(sees)}
