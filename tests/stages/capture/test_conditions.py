"""capture/conditions.py: what is proved, what is tried at every size, and what is left open."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stages.capture import conditions
from stages.interface.interface import Dim, Input, Interface

TWO = {"h": Dim(4, 8, 20), "w": Dim(4, 8, 20)}


class Asks(nn.Module):
    """Takes one of two ways."""

    def __init__(self, question) -> None:
        super().__init__()
        self._question = question

    def forward(self, x):
        return x * 2 if self._question(x.shape[0], x.shape[1]) else x + 1


def under(question, dims):
    interface = Interface({"x": Input(["h", "w"])}, dims)
    shapes = {i: _dim(n, d) for i, (n, d) in enumerate(dims.items())}
    example = torch.randn(*(d.example for d in dims.values()))
    program = torch.export.export(Asks(question), (example,), dynamic_shapes=(shapes,), strict=False)
    return conditions.under(program, interface)


def _dim(name, dim):
    one = torch.export.Dim(name, min=dim.min // dim.multiple, max=dim.max // dim.multiple)
    return one if dim.multiple == 1 else dim.multiple * one


@pytest.mark.parametrize(
    ("question", "text", "broken"),
    [
        (lambda h, w: h > w, "h <= w", 136),
        (lambda h, w: h * w < 400, "h*w < 400", 1),
        (lambda h, w: (h + w) % 2 == 0, "((h + w) % 2) == 0", 144),
        (lambda h, w: (h * w + h) % (w + 1) == 0, "((h + h*w) % (1 + w)) == 0", 0),
    ],
)
def test_each_is_told_in_the_yamls_names_and_tried_at_every_size(question, text, broken):
    (one,) = under(question, TWO)
    broken_, every = one.broken(TWO)
    assert (one.text, one.dims, len(broken_), every) == (text, ("h", "w"), broken, True)
    assert all(set(sizes) == {"h", "w"} for sizes in broken_)
    assert "test_conditions.py" in one.place


def test_what_torch_asserts_of_a_sum_is_a_condition_and_is_proved_by_it():
    class Joins(nn.Module):
        def forward(self, past, x, mask):
            joined = torch.cat([past, x], 1)
            return joined * mask if joined.shape[1] % 2 else joined + mask

    dims = {"past": Dim(0, 4, 9), "new": Dim(1, 3, 9)}
    shapes = {"past": Input([2, "past"]), "x": Input([2, "new"]), "mask": Input([2, "past+new"])}
    torch_dims = {n: torch.export.Dim(n, min=d.min, max=d.max) for n, d in dims.items()}
    torch_dims["past+new"] = torch.export.Dim.AUTO
    program = torch.export.export(
        Joins(),
        tuple(torch.randn(s.at({n: d.opt for n, d in dims.items()})) for s in shapes.values()),
        dynamic_shapes=[{i: torch_dims[d] for i, d in s.axes.items()} for s in shapes.values()],
        strict=False,
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    broken_ = {c.text: c.broken(dims) for c in conditions.under(program, Interface(shapes, dims))}
    assert {len(broken) for broken, _ in broken_.values()} == {0, 45}  # the sums are even at half of all sizes
    assert all(every for _, every in broken_.values())


def test_sizes_that_are_multiples_are_tried_alone():
    dims = {"h": Dim(4, 8, 20, 4), "w": Dim(3, 6, 18, 3)}
    broken = [(at["h"], at["w"]) for one in under(lambda h, w: h > w, dims) for at in one.broken(dims)[0]]
    assert broken == [(h, w) for h in range(4, 21, 4) for w in range(3, 19, 3) if h <= w]


def test_what_the_ranges_say_is_proved_whatever_their_size():
    large = {"h": Dim(4, 8, 10**6), "w": Dim(4, 8, 10**6)}
    (one,) = under(lambda h, w: h * w > 15, large) or [None]
    assert one is None or (one.proved and one.broken(large) == ([], True))


@pytest.mark.parametrize(
    ("code", "broken", "every"),
    [
        ("math.trunc(0.5*torch.sym_float(s0)) > 3", [4, 5, 6, 7], True),
        ("math.log(s0 - 4) > 0", [5], False),  # which is not defined of 0
    ],
)
def test_what_torch_writes_of_sizes_is_worked_out_where_it_can_be(code, broken, every):
    broken_, tried = conditions.Condition("", "", ("h",), False, code, {"s0": ("h", 1)}).broken(TWO)
    assert ([at["h"] for at in broken_], tried) == (broken, every)


def test_too_many_sizes_are_sampled_and_said_so():
    large = {"h": Dim(4, 8, 5000), "w": Dim(4, 8, 5000)}
    (one,) = under(lambda h, w: (h * w + h) % (w + 1) == 0, large)
    assert one.broken(large) == ([], False)
