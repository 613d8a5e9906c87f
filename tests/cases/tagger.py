"""A bidirectional GRU over open lengths, whose state is returned."""

from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 12)
        self.gru = nn.GRU(12, 8, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 5)

    def forward(self, ids):
        y, state = self.gru(self.embed(ids))
        return {"tags": self.head(y), "last": state}


SPEC = {
    "inputs": {"ids": {"shape": ["batch", "t"], "dtype": "int64", "fill": {"integers": [0, 50]}}},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 4}, "t": {"min": 1, "opt": 6, "max": 16}},
}


def inputs(rng):
    for b, t in [(1, 1), (4, 1), (1, 16), (3, 7)]:
        yield {"ids": rng.integers(0, 50, (b, t))}
