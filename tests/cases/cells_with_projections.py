"""Recurrent cells with projections, and both ways over an open length."""

from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 12, 2, bias=False)
        self.rnn = nn.RNN(12, 6, nonlinearity="relu", bidirectional=True)

    def forward(self, x):
        y, (h, c) = self.lstm(x.flip(0))
        return self.rnn(y)[0], h, c


SPEC = {
    "inputs": {"x": {"shape": ["t", "batch", 8], "fill": "normal"}},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 4}, "t": {"min": 1, "opt": 5, "max": 20}},
}


def inputs(rng):
    for b, t in [(1, 1), (4, 1), (1, 20), (3, 7)]:
        yield {"x": rng.standard_normal((t, b, 8), "float32")}
