"""reference/exact.py: answers in float64, without a second copy of the large weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from stages.reference import exact
from stages.reference.exact import ExactModel

TOKENS = np.random.default_rng(0).integers(0, 50, (2, 5))
NUMBERS = np.random.default_rng(0).standard_normal((2, 5, 8)).astype("f4")
PICTURE = np.random.default_rng(0).standard_normal((2, 3, 9, 9)).astype("f4")


class Tied(nn.Module):
    """An embedding that is also the head, of rows that are looked up in other ways too."""

    def __init__(self):
        super().__init__()
        self.table, self.inner, self.head = nn.Embedding(50, 8), nn.Linear(8, 8), nn.Linear(8, 50, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x):
        more = self.table.weight[x] + self.table.weight.index_select(0, x.reshape(-1)).reshape(*x.shape, 8)
        parts = torch.cat([*self.inner.weight.chunk(2), self.inner.weight[:1] * self.inner.weight[0, 0]])
        own = torch.zeros_like(self.inner.weight).add_(self.inner.weight, alpha=2).sum() + parts.sum()
        return self.head(self.inner(self.table(x)) + more) + own.to(self.inner.weight.dtype)


class Recurrent(nn.LSTM):
    def forward(self, x):
        return super().forward(x)[0]


class Attention(nn.MultiheadAttention):
    def forward(self, x):
        return super().forward(x, x, x, need_weights=False)[0]


class Constants(nn.Linear):
    """Makes a tensor of a number in float32, as torchvision's detectors do, and keeps one besides its buffers."""

    def __init__(self):
        super().__init__(8, 4)
        self.table = torch.rand(5, 4)
        self.turns = torch.polar(torch.ones(5, 2), torch.rand(5, 2))
        self.register_buffer("turned", self.turns)

    def forward(self, x):
        y = super().forward(x) * torch.tensor(0.1, dtype=torch.float32) + self.table.unsqueeze(0)
        pairs = torch.view_as_complex(y.unflatten(-1, (2, 2))) * self.turns[None] * self.turned[None]
        return torch.view_as_real(pairs).flatten(-2)


def picture():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4), nn.ConvTranspose2d(4, 2, 2))


CASES = {
    "tied": (Tied, TOKENS),
    "linear": (lambda: nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16)), NUMBERS),
    "recurrent": (lambda: Recurrent(8, 6, num_layers=2, bidirectional=True, batch_first=True), NUMBERS),
    "attention": (lambda: Attention(8, 2, batch_first=True), NUMBERS),
    "normed weight": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(8, 4)), NUMBERS),
    "constants": (Constants, NUMBERS),
    "scripted": (lambda: torch.jit.script(nn.Linear(8, 4)), NUMBERS),
    "convolutions": (picture, PICTURE),
}


def answer(module, values):
    model = ExactModel(module.eval(), None)
    answers = model.answers({"x": values}, lambda y: {"y": y.numpy()})
    return answers.get("y"), model.why_not


@pytest.mark.parametrize("name", CASES)
def test_weights_that_are_widened_where_they_are_used_give_the_answers_of_a_copy(name, monkeypatch):
    make, values = CASES[name]
    monkeypatch.setattr(exact, "LARGE", 0)
    monkeypatch.setattr(exact, "AT_ONCE", 100)
    torch.manual_seed(0)
    module = make().eval()
    before = copy.deepcopy(module.state_dict())
    wide = torch.from_numpy(values).double() if values.dtype.kind == "f" else torch.from_numpy(values)
    with torch.no_grad():
        whole = copy.deepcopy(module).double()(wide).numpy()
    answers, why_not = answer(module, values)
    assert not why_not
    np.testing.assert_allclose(answers, whole, rtol=1e-12, atol=1e-14)
    assert all(v.dtype == before[n].dtype and torch.equal(v, before[n]) for n, v in module.state_dict().items())


def test_a_large_weight_is_in_memory_once(monkeypatch):
    monkeypatch.setattr(exact, "LARGE", 0)
    module = Tied()
    inside = ExactModel(module, None)._module
    assert inside.head.weight is inside.table.weight
    assert inside.table.weight.untyped_storage().nbytes() == 8
    assert (inside.table.weight.dtype, inside.table.weight.shape) == (torch.float64, (50, 8))


class Writes(nn.Linear):
    def forward(self, x):
        self.weight.mul_(1)
        return super().forward(x)


class Numpy(nn.Linear):
    def forward(self, x):
        return x @ torch.from_numpy(self.weight.data.numpy().T.copy()).to(x.dtype)


@pytest.mark.parametrize(("made", "why"), [(Writes, "mul_ writes to a weight"), (Numpy, "")])
def test_weights_that_are_read_or_written_in_another_way_give_no_numbers(made, why, monkeypatch):
    monkeypatch.setattr(exact, "LARGE", 0)
    answers, why_not = answer(made(8, 4), NUMBERS)
    assert answers is None or np.isnan(answers).all()
    assert why in why_not


def test_the_first_inputs_may_be_larger_than_all_others_together(monkeypatch):
    monkeypatch.setattr(exact, "MOST_ELEMENTS", NUMBERS.size - 1)
    model = ExactModel(nn.Linear(8, 4), None)
    first, second = (model.answers({"x": NUMBERS}, lambda y: {"y": y.numpy()}) for _ in range(2))
    assert list(first) == ["y"]
    assert (second, model.why_not) == ({}, "")


def test_first_inputs_that_are_too_large_are_a_reason(monkeypatch):
    monkeypatch.setattr(exact, "MOST_OF_FIRST", NUMBERS.size - 1)
    assert answer(nn.Linear(8, 4), NUMBERS) == (None, "its smallest inputs have 80 numbers, and this is done up to 79")
