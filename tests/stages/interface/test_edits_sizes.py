"""interface/edits.py, sizes: those that were let free are checked, each by itself and at both ends."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conversions import capture, checked, ir
from harness import IMAGE, module, run_stage
from torch import nn

from pipeline.errors import CheckFailed
from stages.capture.capture_export import CaptureExport
from stages.interface.edits import NOTHING
from stages.interface.interface import Dim, Input, Interface
from stages.reference import evidence
from stages.reference.cases import Case
from stages.reference.record_reference import RecordReference

pytestmark = pytest.mark.usefixtures("openvino")


@pytest.mark.parametrize("shapes", [{"inptu": [5, 3, 32, 32]}, {"input": [0, 3, 32, 32]}, {"input": []}, {}])
def test_a_further_shape_that_cannot_be_is_a_problem(shapes):
    stage = RecordReference(
        IMAGE, {"batch": Dim(1, 2, 8)}, None, None, None, False, None, [shapes], 0, "quick", None, 16
    )
    (problem,) = stage.problems()
    assert problem.what.startswith(f"shapes {'names' if 'inptu' in shapes else 'has'}")


class Baked(nn.Module):
    """Divides by the number of pixels, which is the example's where a capture takes them for fixed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).sum((2, 3)) / (x.shape[2] * x.shape[3])


def reshaped(folder, shapes):
    """Baked's IR for heights from 8 to 32, and its reference with further shapes."""
    specs, net = {"input": Input([2, 3, 16, 16])}, module(Baked())
    reference = run_stage(
        RecordReference(specs, {}, None, None, None, False, None, shapes, 0, "quick", None, 16), net, folder / "ref"
    )
    program = run_stage(CaptureExport(2**30), {"module": net, "reference": reference}, folder / "program")
    return ir(program, folder / "ir", reshape={"input": [2, 3, [8, 32], 16]}), reference


def sized(*shape):
    return {"input": list(shape)}


ENDS = [sized(2, 3, 8, 16), sized(2, 3, 32, 16)]


def test_a_dimension_that_was_let_free_is_compared_at_both_ends(tmp_path):
    compiled, reference = reshaped(tmp_path, ENDS[:1])
    with pytest.raises(
        CheckFailed, match="let sizes free that were not compared: dimension 2 of 'input' at 32"
    ) as caught:
        checked(compiled, reference, tmp_path)
    assert caught.value.problems[0].command.count("{input: [2, 3, ") == 2


def test_a_size_that_a_graph_has_baked_in_is_found_at_another(tmp_path):
    compiled, reference = reshaped(tmp_path, ENDS)
    with pytest.raises(CheckFailed, match=r"input 2x3x32x16 \(2x3x32x16\): output 'output' max_rel"):
        checked(compiled, reference, tmp_path)


SIDES = [sized(2, 3, 8, 8), sized(2, 3, 32, 32)]

SQUARES = {("input", 2): (8, 32), ("input", 3): (8, 32)}

EDITS = replace(NOTHING, reshape={"input": [2, 3, [8, 32], [8, 32]]})


@pytest.mark.parametrize(
    ("shapes", "lacking"),
    [
        (SIDES, "dimension 2 of 'input' changed only along with dimension 3 of 'input'"),
        ([sized(2, 3, 8, 32), sized(2, 3, 32, 8)], "changed only along with"),
        ([*SIDES, sized(2, 3, 8, 16)], ""),
        ([sized(2, 3, 8, 16), sized(2, 3, 32, 16), sized(2, 3, 16, 8), sized(2, 3, 16, 32)], ""),
    ],
)
def test_two_dimensions_that_were_let_free_are_compared_each_by_itself(shapes, lacking):
    model = Interface({"input": Input([2, 3, 16, 16])})
    assert evidence.loosened(EDITS, model) == SQUARES
    cases = [Case("", {"input": np.zeros(s["input"])}, {}) for s in (sized(2, 3, 16, 16), *shapes)]
    if lacking:
        with pytest.raises(CheckFailed, match=lacking):
            evidence._demand_sizes(EDITS, model, cases)
    else:
        evidence._demand_sizes(EDITS, model, cases)


def test_what_it_tells_to_record_is_enough():
    model = Interface({"input": Input([2, 3, 16, 16])})
    shapes = [json.loads(s.replace("input", '"input"')) for s in evidence._shapes(SQUARES, model)]
    cases = [Case("", {"input": np.zeros(s["input"])}, {}) for s in (sized(2, 3, 16, 16), *shapes)]
    evidence._demand_sizes(EDITS, model, cases)


@pytest.mark.parametrize(
    ("shape", "free"),
    [
        (["n", 4], {}),
        ([3, 4], {}),
        ([[2, 5], 4], {}),
        ([[2, 9], 4], {("x", 0): (2, 9)}),
        ([None, 4], {("x", 0): None}),
        (["n", "n"], {("x", 1): (1, 8)}),
        (["n", [4, 6]], {("x", 1): (4, 6)}),
    ],
)
def test_a_dimension_is_let_free_where_it_may_have_sizes_that_the_models_had_not(shape, free):
    model = Interface({"x": Input(["n", 4])}, {"n": Dim(1, 2, 8)})
    assert evidence.loosened(replace(NOTHING, reshape={"x": shape}), model) == free


def test_two_of_one_dimension_of_the_models_may_change_together():
    model = Interface({"x": Input(["n", 4]), "y": Input(["n", 4])}, {"n": Dim(1, 2, 8)})
    edits = replace(NOTHING, reshape={"x": [None, 4], "y": [None, 4]})
    cases = [Case("", {n: np.zeros([size, 4]) for n in "xy"}, {}) for size in (2, 3)]
    evidence._demand_sizes(edits, model, cases)


def test_a_range_gets_a_name_that_no_dimension_has(tmp_path):
    spec, dims = {"x": Input(["x_1", 4], fill="normal")}, {"x_1": Dim(1, 2, 8)}
    compiled = ir(
        capture("trace", nn.Identity(), tmp_path, inputs=spec, dims=dims),
        tmp_path / "ir",
        reshape={"x": ["x_1", [2, 4]]},
    )
    interface = Interface.read(compiled)
    assert (interface.inputs["x"].shape, interface.dims["x_1"].max, interface.dims["x_1_"].max) == (
        ["x_1", "x_1_"],
        8,
        4,
    )
