"""reference/formulas.py: a sigmoid near 0 is as exact as runtimes compute it, and only there is the bound wider."""

import pytest
import torch
from harness import VECTOR, record
from torch import nn

from stages.reference import cases as reference_cases
from stages.reference import formulas
from stages.reference.formulas import OF_HALF, OF_ONE

X = torch.full((1, 8), -7.0)


class Scores(nn.Module):
    def __init__(self, make) -> None:
        super().__init__()
        self.head, self.make = nn.Linear(4, 1), make

    def forward(self, x):
        return self.make(self.head(x) - 9)


@pytest.mark.parametrize(
    ("function", "off"),
    [
        (torch.sigmoid, OF_HALF),
        (lambda x: x.clone().sigmoid_(), OF_HALF),
        (nn.functional.silu, 7 * OF_HALF),
        (lambda x: nn.functional.silu(x.clone(), inplace=True), 7 * OF_HALF),
        (nn.functional.softplus, OF_ONE),
        (torch.jit.script(nn.Sigmoid()), OF_HALF),
        (torch.exp, 0.0),
    ],
    ids=["sigmoid", "in place", "silu", "silu in place", "softplus", "script", "exp"],
)
def test_each_function_is_off_by_the_last_bit_of_the_one_in_its_formula(function, off):
    with torch.inference_mode(), formulas.other():
        apart = (function(X).double() - function(X.double()).double()).abs()
    assert apart.max().item() == pytest.approx(off, rel=0.05, abs=1e-9)


def test_what_is_no_float32_is_left_alone():
    with formulas.other():
        within = torch.sigmoid(X.double())
    assert torch.equal(within, torch.sigmoid(X.double()))


@pytest.mark.parametrize(("make", "least"), [(torch.sigmoid, OF_HALF / 2), (torch.exp, None)])
def test_the_reference_records_what_float32_leaves_open(make, least, tmp_path):
    reference = record(Scores(make), tmp_path / "out", inputs=VECTOR, outputs=["y"], effort="standard")
    cases = {c.label: c for c in reference_cases.read(reference) if c.exact}
    assert {len(c.open) for c in cases.values()} == {int(least is not None)}
    assert least is None or cases["min"].open["y"][1] > least
