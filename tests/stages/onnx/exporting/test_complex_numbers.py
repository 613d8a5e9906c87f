"""onnx/exporting/complex_numbers.py: rotary positions by complex numbers, as Llama's first code has them."""

from __future__ import annotations

import torch
from conversions import agrees, export
from torch import nn

from stages.interface.interface import Dim, Input


class Turned(nn.Module):
    """Every operator of the table, by dimensions counted from the start and from the end."""

    def __init__(self):
        super().__init__()
        angles = torch.outer(torch.arange(16.0), torch.tensor([1.0, 0.3, 0.1]))
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles), persistent=False)

    def forward(self, x, places):
        numbers = torch.view_as_complex(x.reshape(*x.shape[:2], 2, 3, 2))
        turns = self.turns[places].unsqueeze(2)
        again = self.turns[: x.shape[1]].unsqueeze(-2).unsqueeze(0).expand(len(x), -1, 2, -1)
        turned = numbers * turns * again
        picked = torch.stack([turned.select(2, 1), turned.select(-2, 0)], -1).index_select(-2, torch.tensor([2, 0]))
        return (
            torch.view_as_real(turned).flatten(2),
            torch.view_as_real(turns.squeeze((2,))),
            torch.view_as_real(turns.squeeze((-2,))),
            torch.view_as_real(picked),
            turned.abs(),
        )


def test_numbers_that_are_turned_are_right_at_every_length(tmp_path):
    places = Input(["batch", "t"], "int64", {"integers": [0, 16]})
    inputs = {"x": Input(["batch", "t", 12], fill="normal"), "places": places}
    dims = {"batch": Dim(1, 2, 3), "t": Dim(1, 5, 16)}
    graph = export("export", Turned(), tmp_path, inputs=inputs, dims=dims)
    agrees(graph, tmp_path)
