"""Self-attention with a padding mask, in its lean form: of a text that is all padding PyTorch makes zeros."""

import numpy as np
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x, mask):
        y, _ = self.attend(x, x, x, key_padding_mask=mask == 0, need_weights=False)
        return self.head(y)


SPEC = {
    "inputs": {
        "x": {"shape": ["batch", "t", 16], "fill": "normal"},
        "mask": {"shape": ["batch", "t"], "dtype": "int64", "fill": "mask"},
    },
    "dims": {"batch": {"min": 1, "opt": 2, "max": 4}, "t": {"min": 2, "opt": 6, "max": 16}},
}


def inputs(rng):
    mask = np.ones((4, 9), np.int64)
    mask[1], mask[2, 3:], mask[3, :4] = 0, 0, 0
    yield {"x": rng.standard_normal((4, 9, 16), "float32"), "mask": mask}
