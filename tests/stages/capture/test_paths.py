"""capture/paths.py: sizes from all over dims, and the ways that forward takes at them."""

from __future__ import annotations

import pytest
import torch
from nets import TinyConv, ValueBranch
from torch import nn

from stages.capture import paths
from stages.interface.interface import Dim, Input, Interface

WIDE = {"h": Dim(8, 64, 512), "w": Dim(8, 64, 512), "batch": Dim(1, 2, 8)}
TOKENS = Interface({"x": Input(["batch", "t"])}, {"batch": Dim(1, 2, 4), "t": Dim(1, 8, 40)})


def test_few_sizes_are_all_looked_at():
    dims = {"h": Dim(4, 8, 12, 4), "batch": Dim(1, 2, 3)}
    assert len(paths.spread(dims, 9)) == 9


def test_many_are_spread_with_ends_sweeps_and_orders_the_same_every_time():
    sizes = paths.spread(WIDE, 100)
    assert sizes == paths.spread(WIDE, 100)
    assert len(sizes) == len({tuple(at.values()) for at in sizes}) == 100
    assert {"h": 512, "w": 8, "batch": 1} in sizes
    assert {(at["h"] > at["w"]) - (at["h"] < at["w"]) for at in sizes} == {-1, 0, 1}
    assert len({at["h"] for at in sizes}) > 15
    assert all(at[n] in d.sizes for at in sizes for n, d in WIDE.items())


class Ways(nn.Module):
    """Three ways, one of them in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.loose = [torch.ones(())]
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        x = x * self.scale + self.loose[0]
        return x if x.shape[1] < 20 else (x * 2 if x.shape[1] < 23 else x * 3)


def test_every_other_way_is_found_with_its_line_and_smallest_sizes():
    net = Ways()
    search = paths.search(net, TOKENS)
    assert sorted(p.sizes["t"] for p in search.partings) == [20, 23]
    assert all(p.line.startswith("test_paths.py:") and p.sizes["batch"] == 1 for p in search.partings)
    assert (search.sizes_run, search.every, search.stopped) == (160, True, "")
    assert (net.calls, net.scale.device.type, net.loose[0].device.type) == (0, "cpu", "cpu")


class Listed(nn.Module):
    """Layers and a factor from lists, by size."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        return self.heads[x.shape[1] // 16](x.new_ones(4)) * (1.0, 2.0)[x.shape[0] // 3]


@pytest.mark.slow
def test_the_same_steps_with_other_weights_are_another_way_where_that_is_asked():
    partings = paths.search(Listed(), TOKENS, operands=True).partings
    ways = {(p.sizes["batch"] // 3, p.sizes["t"] // 16) for p in partings}
    assert ways == {(0, 1), (0, 2), (1, 0), (1, 1), (1, 2)}
    assert all("self.heads[x.shape[1]" in p.place for p in partings)
    assert paths.search(Listed(), TOKENS).partings == []


def test_where_values_decide_nothing_is_claimed():
    search = paths.search(ValueBranch(), Interface({"x": Input(["batch", 4])}, {"batch": Dim(1, 2, 8)}))
    assert (search.partings, search.sizes_run, search.every) == ([], 0, False)
    assert search.stopped


def test_a_model_that_goes_one_way_has_no_partings():
    images = Interface({"x": Input(["batch", 3, 8, 8])}, {"batch": Dim(1, 2, 8)})
    assert paths.search(TinyConv().eval(), images).partings == []
