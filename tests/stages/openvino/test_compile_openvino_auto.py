"""openvino/compile_openvino_auto.py: the first route, and of a module the first capture, that serves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conversions import agrees, capture
from harness import BATCH_SEQ, TOKENS, VECTOR, backend, contents, module, record, reference_in, run_stage, tolerance
from nets import Attention, TwoOutputs, ValueBranch
from torch import nn

from pipeline.errors import StageError
from stages.interface.edits import NOTHING
from stages.openvino import convert as ir
from stages.openvino.compile_openvino_auto import CompileOpenvinoAuto

AUTO = CompileOpenvinoAuto(
    "float32", NOTHING, None, [], ["export", "trace", "script"], 18, "float32", tolerance("fp32")
)


@pytest.fixture(autouse=True)
def _openvino():
    backend("openvino")


def compiled(program, folder, stage=AUTO, *, reference=None):
    given = {"program": program, "reference": reference or reference_in(folder)}
    return run_stage(stage, given, folder / "ir")


def of_module(net, folder, stage=AUTO, **interface):
    reference = record(net, folder / "reference", **interface)
    return compiled(module(net), folder, stage, reference=reference)


@pytest.mark.parametrize("how", ["export", "trace"])
def test_a_captured_program_is_converted_directly(tmp_path, how):
    made = compiled(capture(how, TwoOutputs(), tmp_path), tmp_path)
    assert (made.facts["route"], made.facts["capture"]) == ("direct", how)
    assert made.notes["says"].startswith("by route=direct: ")
    agrees(made, tmp_path)


def test_a_module_is_captured_on_the_way(tmp_path):
    made = of_module(Attention(), tmp_path, inputs=TOKENS, dims=BATCH_SEQ)
    assert (made.facts["route"], made.facts["capture"]) == ("direct", "export")
    assert sorted(contents(made.folder)) == ["model.bin", "model.xml"]


class Fraction(nn.Module):
    """Calls an operator that OpenVINO's PyTorch front end has no rule for, and the ONNX exporter has."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x):
        return torch.frac(self.head(x))


def test_what_has_no_direct_rule_goes_through_onnx_and_the_notes_say_why(tmp_path):
    made = of_module(Fraction(), tmp_path, inputs=VECTOR)
    assert made.facts["route"] == "onnx"
    assert "not route=direct capture=export: OpenVINO has no conversion rule for aten." in made.notes["says"]
    agrees(made, tmp_path)


def test_a_trace_that_fixed_a_branch_is_not_taken(tmp_path):
    made = of_module(ValueBranch(), tmp_path, inputs=VECTOR)
    assert made.facts["capture"] == "script"
    assert "not route=direct capture=trace: its result does not agree" in made.notes["says"]
    agrees(made, tmp_path)


def test_when_none_serves_each_way_says_why(tmp_path):
    only = replace(AUTO, captures=["trace"])
    with pytest.raises(StageError) as told:
        of_module(ValueBranch(), tmp_path, only, inputs=VECTOR)
    assert [p.what.partition(": ")[0] for p in told.value.problems] == [
        "route=direct capture=trace",
        "route=onnx capture=trace",
    ]


def test_an_opset_that_a_captures_exporter_does_not_write_leaves_the_direct_route(tmp_path):
    with pytest.raises(StageError) as told:
        compiled(capture("export", Fraction(), tmp_path, inputs=VECTOR), tmp_path, replace(AUTO, opset=17))
    assert [p.what.partition(": ")[0] for p in told.value.problems] == ["route=direct"]


@pytest.mark.parametrize("captures", [[], ["jit"]])
def test_captures_that_there_are_not_are_a_problem(captures):
    (problem,) = replace(AUTO, captures=captures).problems()
    assert problem.allowed == "some of export, trace, script"


def test_what_a_vendor_raises_is_one_ways_refusal_and_not_the_end(tmp_path, monkeypatch):
    def breaks(*args):
        raise RuntimeError("Exception from src/x.cpp:1:\nno such thing here")

    program = capture("trace", TwoOutputs(), tmp_path)
    direct = ir.made
    monkeypatch.setattr(ir, "made", lambda source, *rest: (breaks if source.kind != "onnx" else direct)(source, *rest))
    made = compiled(program, tmp_path)
    assert made.facts["route"] == "onnx"
    assert "not route=direct: RuntimeError: no such thing here" in made.notes["says"]


def test_a_file_has_no_captures_to_choose_from():
    (problem,) = replace(AUTO, opset=None).problems()
    assert problem.command == "route=onnx or route=direct"
