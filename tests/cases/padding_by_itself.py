"""An encoder that knows padding by its number: texts that are padded, and one that is nothing else."""

import numpy as np
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 16, padding_idx=0)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, ids):
        padding = ids == 0
        y = self.encoder(self.embed(ids), src_key_padding_mask=padding)
        return y.masked_fill(padding[..., None], 0).sum(1) / (~padding).sum(1, keepdim=True).clamp(min=1)


SPEC = {
    "inputs": {"ids": {"shape": ["batch", "t"], "dtype": "int64", "fill": {"integers": [0, 50]}}},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 4}, "t": {"min": 1, "opt": 6, "max": 12}},
}


def inputs(rng):
    for b, t in [(1, 1), (4, 1), (1, 12), (3, 7)]:
        yield {"ids": rng.integers(1, 50, (b, t))}
    ids = rng.integers(1, 50, (3, 6))
    ids[0, 3:], ids[1] = 0, 0
    yield {"ids": np.array(ids)}
