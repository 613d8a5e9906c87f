"""reference/parity.py: faults as converters make them, each found by the questions that are there for it."""

import pytest
import torch
from harness import record, tolerance
from torch import nn

from pipeline.artifact import Artifact, Kind
from stages.interface.interface import Dim, Input
from stages.reference import parity

DIMS = {"batch": Dim(1, 2, 6), "t": Dim(2, 8, 32)}
DRAWN = {"example", "min", "odd", "max"}
X = {"x": Input(["batch", "t", 4])}
IDS = {"ids": Input(["batch", "t"], "int64", {"integers": [0, 1000]})}
MASKED = {"x": X["x"], "mask": Input(["batch", "t"], "int64", "mask")}
TIMES = {"x": X["x"], "when": Input(["batch"], "int64", {"integers": [0, 2**24 + 2]})}


class Net(nn.Module):
    """Some arithmetic behind a layer, a table or a mask."""

    def __init__(self, does) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.does, self.head, self.table = does, nn.Linear(4, 4), nn.Embedding(1000, 4)

    def forward(self, *arrays):
        return self.does(self, *arrays)


def failing(right, wrong, inputs, folder, dims=DIMS, limits="fp32", effort="standard"):
    """The questions at which a wrong artifact is told from the right one."""
    used = {d for spec in inputs.values() for d in spec.axes.values()}
    used_dims = {n: d for n, d in dims.items() if n in used}
    reference = record(Net(right), folder / "out", inputs=inputs, dims=used_dims, outputs=["y"], effort=effort)
    net = Net(wrong).eval()

    def running(arrays):
        with torch.no_grad():
            return {"y": net(*(torch.from_numpy(v.copy()) for v in arrays.values())).numpy()}

    result = parity.measure(Artifact(Kind.MODULE), running, reference, tolerance(limits))
    return {sentence.partition(" (")[0].partition(", asked")[0] for sentence in result.wrong}


def normed(m, x):
    return x / (x.abs().sum(-1, keepdim=True) + 1e-8)


def padded(m, ids):
    return (m.table(ids) * (ids > 0).unsqueeze(-1)).sum(1)


def pooled(m, x, mask):
    weight = mask.unsqueeze(-1)
    return m.head((x * weight).sum(1) / weight.sum(1).clamp(min=1))


def prefix(m, x, mask):
    return pooled(m, x, torch.arange(mask.shape[1]) < mask.sum(1, keepdim=True))


def at(batch, t):
    return lambda m, x: m.head(x) * (1.01 if x.shape[:2] == (batch, t) else 1)


FAULTS = {
    "a limit of 6": (X, lambda m, x: m.head(x).relu(), lambda m, x: m.head(x).clamp(0, 6), {"large", "huge"}),
    "a lost epsilon": (X, normed, lambda m, x: x / x.abs().sum(-1, keepdim=True), {"zeros", "rows of zeros", "tiny"}),
    "negative numbers cut": (X, lambda m, x: m.head(x), lambda m, x: m.head(x.relu()), {"negative", "large"}),
    "softmax without the largest taken off": (
        X,
        lambda m, x: torch.softmax(x, -1),
        lambda m, x: x.exp() / x.exp().sum(-1, keepdim=True),
        {"large", "huge"},
    ),
    "rounding where others are cut": (X, lambda m, x: x.round() + x, lambda m, x: (x + 0.5).floor() + x, {"ties"}),
    "a mask of padding dropped": (IDS, padded, lambda m, ids: m.table(ids).sum(1), {"lowest"}),
    "the last row of a table lost": (
        IDS,
        lambda m, ids: m.table(ids).sum(1),
        lambda m, ids: (m.table(ids) * (ids < 999).unsqueeze(-1)).sum(1),
        {"highest", "ends"},
    ),
    "whole numbers as float32": (
        TIMES,
        lambda m, x, when: (when - when // 3 * 3).float(),
        lambda m, x, when: (when.float().long() - when // 3 * 3).float(),
        {"highest"},
    ),
    "a mask taken for a length": (MASKED, pooled, prefix, {"highest", "ends"}),
    "a row of no token": (
        MASKED,
        pooled,
        lambda m, x, mask: m.head((x * mask.unsqueeze(-1)).sum(1) / mask.unsqueeze(-1).sum(1)),
        {"masked row"},
    ),
    "one text, the longest": (X, lambda m, x: m.head(x), at(1, 32), {"t largest"}),
    "one short of the longest": (X, lambda m, x: m.head(x), at(1, 31), {"t one short"}),
    "many short texts": (X, lambda m, x: m.head(x), at(6, 2), {"batch largest"}),
    "more rows than columns": (
        X,
        lambda m, x: m.head(x),
        lambda m, x: m.head(x) * (1.01 if x.shape[0] > x.shape[1] else 1),
        {"batch largest"},
    ),
    "equal after a stride": (
        {"x": Input([1, "h", "w", 4])},
        lambda m, x: m.head(x),
        lambda m, x: m.head(x) * (1.01 if (x.shape[1] + 3) // 4 > (x.shape[2] + 3) // 4 else 1),
        {"odd, apart", "h largest"},
    ),
}


@pytest.mark.parametrize(("inputs", "right", "wrong", "finds"), FAULTS.values(), ids=FAULTS)
def test_a_fault_that_no_draw_at_four_sizes_shows_is_found(inputs, right, wrong, finds, tmp_path):
    dims = DIMS | {"h": Dim(9, 16, 32), "w": Dim(9, 16, 32)}
    labels = failing(right, wrong, inputs, tmp_path, dims)
    assert finds <= labels
    assert not labels & DRAWN
    assert failing(right, right, inputs, tmp_path / "right", dims) == set()


@pytest.mark.parametrize(("limits", "expected"), [("fp32", True), ("fp16", False), ("int8", False)])
def test_extremes_are_for_float32(limits, expected, tmp_path):
    inputs, right, wrong, _ = FAULTS["a limit of 6"]
    assert bool(failing(right, wrong, inputs, tmp_path, limits=limits)) is expected


@pytest.mark.parametrize(("limits", "expected"), [("fp32", True), ("fp16", True), ("int8", False)])
def test_ends_of_ranges_are_for_types_that_hold_them(limits, expected, tmp_path):
    inputs, right, wrong, _ = FAULTS["a mask of padding dropped"]
    assert bool(failing(right, wrong, inputs, tmp_path, limits=limits)) is expected


class Remembering:
    """An artifact whose answers depend on what came before; `harm` says when they are wrong, by the lengths so far."""

    def __init__(self, net, harm) -> None:
        self.net, self.harm, self.lengths = net, harm, []

    def __call__(self, arrays):
        self.lengths.append(arrays["x"].shape[1])
        with torch.no_grad():
            answer = self.net(torch.from_numpy(arrays["x"])).numpy()
        return {"y": answer * (2 if self.harm(self.lengths) else 1)}


HARM = {
    "a long request after a short one": lambda lengths: lengths[0] == 2 and lengths[-1] >= 16,
    "the same twice": lambda lengths: lengths[-2:] == [2, 2],
    "a shorter one after the longest": lambda lengths: max(lengths) == 32 > lengths[-1],
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_what_one_request_does_to_the_next_is_found(harm, tmp_path):
    reference = record(Net(lambda m, x: m.head(x)), tmp_path / "out", inputs=X, dims=DIMS, outputs=["y"])
    running = Remembering(Net(lambda m, x: m.head(x)), harm)
    assert parity.measure(Artifact(Kind.MODULE), running, reference, tolerance("fp32")).wrong
    assert running.lengths[:2] == [2, 2]
    assert running.lengths[-1] == 8


def test_what_the_model_decides_by_rounding_is_not_judged_and_told(tmp_path):
    def first(m, x):
        return x.topk(2, -1).indices + m.head(x)[..., :2]

    reference = record(Net(first), tmp_path / "out", inputs=X, dims=DIMS, outputs=["y"], effort="standard")
    net = Net(lambda m, x: (3 - x.flip(-1).topk(2, -1).indices) + m.head(x)[..., :2])
    running = Remembering(net, lambda lengths: False)
    result = parity.measure(Artifact(Kind.MODULE), running, reference, tolerance("fp32"))
    assert not result.wrong
    assert {sentence.partition(" ")[0] for sentence in result.unsure} >= {"zeros", "ones"}
