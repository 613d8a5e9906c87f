"""reference/further.py, watch.py and exact.py: which families count, what decides by ties, and answers in float64."""

import numpy as np
import pytest
import torch
from harness import VECTOR, record
from torch import nn

from stages.interface.interface import Dim, Input
from stages.reference import cases as reference_cases


class Calls(nn.Module):
    def __init__(self, make) -> None:
        super().__init__()
        self.make, self.table, self.head = make, nn.Embedding(50, 4), nn.Linear(4, 4)

    def forward(self, *inputs):
        return self.make(self, *inputs)


def recorded(make, folder, inputs=VECTOR, **how):
    reference = record(Calls(make), folder / "out", inputs=inputs, outputs=["y"], effort="standard", **how)
    return reference, {c.label: c for c in reference_cases.read(reference)}


def test_a_family_without_a_finite_answer_is_not_asked_and_told_why(tmp_path):
    reference, cases = recorded(lambda m, x: m.head(x.log()), tmp_path)
    not_asked = reference.notes["questions"]["not_asked"]
    assert {"zeros", "negative"} <= not_asked.keys() == reference_cases.not_asked(reference).keys()
    assert not_asked["zeros"] == "the model answers NaN or infinities: y"
    assert "zeros" not in cases
    assert "ones" in cases


@pytest.mark.parametrize(
    ("side", "effort", "families"), [(4, "standard", 11), (224, "standard", 5), (224, "thorough", 13)]
)
def test_of_large_inputs_the_families_that_find_most_are_asked_and_the_others_told(side, effort, families, tmp_path):
    pictures = {"x": Input(["batch", 3, side, side])}
    reference = record(
        Calls(lambda m, x: x.mean(1) + 1), tmp_path / "out", inputs=pictures, outputs=["y"], effort=effort
    )
    values = [c.label for c in reference_cases.read(reference) if c.family != "sizes"]
    assert len(values) == families
    left_out = {n for n, why in reference_cases.not_asked(reference).items() if why.endswith("effort=thorough asks it")}
    assert left_out == ({"large", "ties", "tiny", "outliers", "wide", "ones"} if families == 5 else set())


def test_a_family_that_the_model_rejects_is_not_asked_and_told_why(tmp_path):
    def strict(m, x):
        if (x < 0).any():
            raise ValueError("below zero")
        return m.head(x)

    reference, _ = recorded(strict, tmp_path, {"x": Input(["batch", 4])})
    assert reference.notes["questions"]["not_asked"]["negative"] == "the model rejects it: below zero"


@pytest.mark.parametrize(
    ("make", "tied", "operator"),
    [
        (lambda m, x: x.topk(4, -1).indices + m.head(x), {"zeros", "ones", "ties"}, "topk"),
        (lambda m, x: (x + 1).argmax(-1, keepdim=True) + m.head(x), {"zeros", "ones", "ties"}, "argmax"),
        (lambda m, x: x.sort(-1).indices + m.head(x), {"zeros", "ones", "ties"}, "sort"),
        (lambda m, x: (x >= 1) * m.head(x), {"ones", "ties"}, "ge"),
        (lambda m, x: x.relu().amax(-1, keepdim=True) + m.head(x), set(), ""),
    ],
    ids=["topk", "argmax", "sort", "comparison", "none"],
)
def test_what_decides_by_rounding_alone_is_known(make, tied, operator, tmp_path):
    _, cases = recorded(make, tmp_path)
    assert tied <= {label for label, c in cases.items() if c.ties} <= {*tied, "tiny", "rows of zeros"}
    assert all(c.ties[0].startswith(f"{operator} at test_further.py:") for label, c in cases.items() if label in tied)


def test_how_many_rows_of_a_table_were_looked_up_is_told(tmp_path):
    ids = {"ids": Input(["batch", 3], "int64", {"integers": [0, 50]})}
    reference, cases = recorded(lambda m, ids: m.head(m.table(ids)), tmp_path, ids)
    drawn = {int(i) for c in cases.values() for i in c.inputs["ids"].ravel()}
    assert reference.notes["questions"]["tables"] == {"table.weight": [len(drawn), 50]}
    assert f"{len(drawn)} of 50 rows of table.weight looked up" in reference.notes["says"]


def test_the_smallest_and_families_are_answered_in_float64(tmp_path):
    _, cases = recorded(lambda m, x: m.head(x), tmp_path)
    assert {c.label for c in cases.values() if not c.exact} == {"example", "odd", "max", "batch one short"}
    for case in cases.values():
        for name, exact in case.exact.items():
            assert exact.dtype == np.float64
            assert 0 < np.abs(exact - case.outputs[name]).max(initial=1e-30) <= 1e-5 * np.abs(exact).max(initial=1e-20)


def cast(m, x):
    return m.head(x.float())  # which is what the caller wants in float64, too


def halved(m, x):
    return m.head(x).half().float()


def adding_a_constant(m, x):
    return m.head(x) + torch.from_numpy(np.ones(4, "f4")) * 1.1


def refusing(m, x):
    assert x.dtype == torch.float32
    return m.head(x)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (cast, ""),
        (halved, "inside it gives less"),
        (adding_a_constant, ""),
        (refusing, "it cannot be run in it"),
    ],
)
def test_float64_is_had_only_where_nothing_inside_is_computed_in_less(make, why, tmp_path):
    reference, cases = recorded(make, tmp_path)
    not_in_float64 = reference.notes["questions"]["not_in_float64"]
    assert why in not_in_float64 if why else not not_in_float64
    assert any(c.exact for c in cases.values()) is not bool(why)


def test_extremes_at_which_nothing_says_how_far_the_model_is_determined_are_not_asked(tmp_path):
    def wild(m, x):
        assert x.dtype == torch.float32
        return (1000 * x).sin() + m.head(x)

    reference, cases = recorded(wild, tmp_path)
    assert "last bits" in reference.notes["questions"]["not_asked"]["huge"]
    assert "zeros" in cases


def test_a_file_is_not_asked_at_extremes(tmp_path):
    from conversions import export

    reference = record(export("export", Calls(lambda m, x: m.head(x)), tmp_path, inputs=VECTOR), tmp_path / "of_file",
                  inputs=None, dims={"batch": Dim(1, 2, 8)}, effort="standard")  # fmt: skip
    assert (
        reference.notes["questions"]["not_asked"]["zeros"] == "a file does not show where it decides by rounding alone"
    )
    assert "draw 2" in {c.label for c in reference_cases.read(reference)}
