"""interface/edits.py: an IR whose interface is not the model's is held to the model's answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conversions import capture, checked, ir, ports
from harness import IMAGE, module, record, run_stage, tolerance, world
from nets import TinyConv, TwoOutputs
from torch import nn

from pipeline.errors import CheckFailed, ConfigError, StageError
from stages.checking.check import Check
from stages.interface.edits import NOTHING, Images
from stages.interface.images import Preprocessing
from stages.interface.interface import Dim, Input, Interface
from stages.openvino import convert as ir_conversion
from stages.openvino.compile_openvino import CompileOpenvino
from stages.reference import artifact_cases
from stages.reference import cases as reference_cases
from stages.reference.record_reference import RecordReference

pytestmark = pytest.mark.usefixtures("openvino")

CASES = {
    "nothing": ({}, {"input": "f32[1..8,3,32,32]", "scores": "f32[1..8,10]", "features": "f32[1..8,4,32,32]"}, 4),
    "one fixed size": ({"reshape": {"input": [2, 3, 32, 32]}}, {"input": "f32[2,3,32,32]"}, 1),
    "a narrower range": ({"reshape": {"input": [[2, 4], 3, 32, 32]}}, {"input": "f32[2..4,3,32,32]"}, 2),
    "any size": ({"reshape": {"input": [None, 3, 32, 32]}}, {"input": "f32[?,3,32,32]"}, 4),
    "a dimension by its name": ({"reshape": {"input": ["batch", 3, 32, 32]}}, {"input": "f32[1..8,3,32,32]"}, 4),
    "one output": ({"outputs": ["features"]}, {"features": "f32[1..8,4,32,32]"}, 4),
    "other names": ({"names": {"input": "image", "scores": "logits"}}, {"image": "f32[1..8,3,32,32]"}, 4),
    "a wider output": ({"dtypes": {"scores": "float64"}}, {"scores": "f64[1..8,10]"}, 4),
    "an input the other way": ({"layouts": {"input": "NCHW->NHWC"}}, {"input": "f32[1..8,32,32,3]"}, 4),
    "an output the other way": ({"layouts": {"features": "NCHW->NHWC"}}, {"features": "f32[1..8,32,32,4]"}, 4),
    "a layout that is only told": ({"layouts": {"input": "NCHW"}}, {"input": "f32[1..8,3,32,32]"}, 4),
    "several at once": (
        {
            "reshape": {"input": [1, 3, 32, 32]},
            "outputs": ["features"],
            "names": {"input": "image", "features": "map"},
            "layouts": {"input": "NCHW->NHWC", "features": "NCHW->NHWC"},
        },
        {"image": "f32[1,32,32,3]", "map": "f32[1,32,32,4]"},
        1,
    ),
}


@pytest.mark.parametrize(("edits", "expected", "cases"), CASES.values(), ids=CASES)
def test_an_edited_ir_is_as_it_was_asked_for_and_agrees_with_the_model(two, route, tmp_path, edits, expected, cases):
    compiled = ir(two[route], tmp_path / "ir", **edits)
    assert expected.items() <= ports(compiled).items()
    assert len(checked(compiled, two["reference"], tmp_path).notes["parity"]["cases"]) == cases


def test_outputs_that_were_not_chosen_are_gone(two, route, tmp_path):
    assert list(ports(ir(two[route], tmp_path / "ir", outputs=["scores"]))) == ["input", "scores"]


def test_the_reference_is_asked_in_the_artifacts_own_types_names_and_order(two, tmp_path):
    compiled = ir(
        two["direct"],
        tmp_path / "ir",
        names={"input": "image", "scores": "logits"},
        dtypes={"input": "float16", "scores": "float64"},
        layouts={"input": "NCHW->NHWC"},
        outputs=["scores"],
    )
    (recorded, *_) = reference_cases.read(two["reference"])
    adapted = artifact_cases.case_for(compiled, recorded)
    assert {n: (str(v.dtype), v.shape) for n, v in adapted.inputs.items()} == {"image": ("float16", (2, 32, 32, 3))}
    assert {n: (str(v.dtype), v.shape) for n, v in adapted.outputs.items()} == {"logits": ("float64", (2, 10))}


def test_a_layout_is_read_back(two, tmp_path):
    import openvino

    compiled = ir(two["direct"], tmp_path / "ir", layouts={"input": "NCHW"})
    assert str(openvino.Core().read_model(compiled.file).input("input").get_node().layout) == "[N,C,H,W]"


def test_an_edit_that_is_wrong_is_found_by_the_check(two, tmp_path):
    compiled = ir(two["direct"], tmp_path / "ir", layouts={"input": "NCHW->NCWH"})
    lied = replace(compiled, facts={**compiled.facts, "edits": {"layouts": {"input": "NCHW"}}})
    with pytest.raises(CheckFailed, match="does not agree"):
        checked(lied, two["reference"], tmp_path)


def test_a_size_that_the_reference_does_not_have_is_not_called_checked(two, tmp_path):
    compiled = ir(two["direct"], tmp_path / "ir", reshape={"input": [5, 3, 32, 32]})
    with pytest.raises(CheckFailed, match="no case that this openvino takes"):
        checked(compiled, two["reference"], tmp_path)


def test_a_further_size_of_the_reference_serves_it(two, tmp_path):
    stage = RecordReference(
        IMAGE, {"batch": Dim(1, 2, 8)}, None, None, None, False, None, [{"input": [5, 3, 32, 32]}], 0, "quick", None, 16
    )
    reference = run_stage(stage, module(TwoOutputs()), tmp_path / "reference")
    assert [c.label for c in reference_cases.read(reference)] == ["example", "min", "odd", "max", "input 5x3x32x32"]


REFUSED = {
    "an unknown input": ({"reshape": {"inptu": [1, 3, 32, 32]}}, "no input, did you mean 'input'"),
    "an unknown output": ({"outputs": ["score"]}, "no output, did you mean 'scores'"),
    "an unknown name": ({"dtypes": {"x": "float16"}}, "edits.dtypes names 'x', which is no input or output"),
    "another rank": ({"reshape": {"input": [1, 3, 32]}}, "and the input has 4 dimensions"),
    "an unknown dimension": ({"reshape": {"input": ["bacth", 3, 32, 32]}}, "no dimension, did you mean 'batch'"),
    "a layout of another rank": ({"layouts": {"scores": "NCHW"}}, "edits.layouts.scores is NCHW, and it has 2"),
    "two of one name": ({"names": {"input": "scores"}}, "makes two of one name: 'scores'"),
}


@pytest.mark.parametrize(("edits", "says"), REFUSED.values(), ids=REFUSED)
def test_an_edit_of_what_the_model_does_not_have_is_refused(two, tmp_path, edits, says):
    with pytest.raises(ConfigError, match=says):
        ir(two["direct"], tmp_path / "ir", **edits)


PROBLEMS = {
    "reshape.input has 0": {"reshape": {"input": [0, 3]}},
    "reshape.input has [4, 2]": {"reshape": {"input": [[4, 2], 3]}},
    "names.x is 'a b'": {"names": {"x": "a b"}},
    "names gives one name twice: a, a": {"names": {"x": "a", "y": "a"}},
    "dtypes.x is float": {"dtypes": {"x": "float"}},
    "layouts.x is NCHW->NHW": {"layouts": {"x": "NCHW->NHW"}},
    "layouts.x is nchw": {"layouts": {"x": "nchw"}},
    "outputs is []": {"outputs": []},
    "images asks for raw photographs": {"images": Images()},
}


@pytest.mark.parametrize(("what", "edits"), PROBLEMS.items(), ids=PROBLEMS)
def test_a_wrong_edit_is_a_problem_before_any_work(what, edits):
    (problem,) = compile_stage(edits=replace(NOTHING, **edits), preprocessing=None).problems()
    assert problem.what.startswith(f"edits.{what}")


def test_a_shape_that_the_graph_does_not_take_names_the_input_and_the_node(two, tmp_path):
    with pytest.raises(StageError) as caught:
        ir(two["onnx"], tmp_path / "ir", reshape={"input": [1, 4, 32, 32]})
    (problem,) = caught.value.problems
    assert problem.what.startswith("the graph does not take input [1,4,32,32]: node '/model/conv/Conv")
    assert "Data batch channel count (4) does not match filter input channel count (3)" in problem.what


def test_the_recorded_answers_do_not_depend_on_how_an_array_lies_in_memory(tmp_path):
    reference = record(TinyConv(), tmp_path / "reference")
    (case, *_) = reference_cases.read(reference)
    channels_last = np.ascontiguousarray(case.inputs["input"].transpose(0, 2, 3, 1))
    turned = replace(case, inputs={"input": channels_last.transpose(0, 3, 1, 2)})
    folder = tmp_path / "again"
    folder.mkdir()
    reference_cases.write(folder, [turned], {}, {})
    (read, *_) = reference_cases.read(replace(reference, folder=folder))
    np.testing.assert_array_equal(read.inputs["input"], case.inputs["input"])


class Pair(nn.Module):
    """Two inputs, of which either shape may be wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 4), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.left(x) + self.right(y)


def test_of_several_inputs_the_one_whose_shape_is_refused_is_named(tmp_path):
    spec = {"x": Input([2, 4], fill="normal"), "y": Input([2, 6], fill="normal")}
    program = capture("trace", Pair(), tmp_path, inputs=spec, dims={})
    with pytest.raises(StageError, match=r"the graph does not take y \[2,5\]: node"):
        ir(program, tmp_path / "ir", reshape={"y": [2, 5]})


PICTURES = Preprocessing(40, [0.4, 0.5, 0.6], [0.2, 0.3, 0.25])


def compile_stage(**settings):
    return replace(CompileOpenvino("float32", NOTHING, PICTURES, []), **settings)


def test_preprocessing_decides_an_ir_only_where_it_is_compiled_in(tmp_path):
    here, other = world(tmp_path), replace(PICTURES, resize=41)
    pictured = replace(NOTHING, images=Images())
    assert compile_stage().identity(here) == compile_stage(preprocessing=other).identity(here)
    assert compile_stage(edits=pictured).identity(here) != compile_stage(edits=pictured, preprocessing=other).identity(
        here
    )


def test_an_extension_decides_an_ir_by_its_content(tmp_path):
    library = tmp_path / "ops.so"
    library.write_text("one")
    before = compile_stage(extensions=[str(library)]).identity(world(tmp_path))
    library.write_text("another")
    assert (
        compile_stage(extensions=[str(library)]).identity(world(tmp_path))
        != before
        != compile_stage().identity(world(tmp_path))
    )


def test_a_case_that_an_artifact_does_not_take_is_told(two, tmp_path):
    compiled = ir(two["direct"], tmp_path / "ir", reshape={"input": [[2, 4], 3, 32, 32]})
    stage = Check("float32", {}, [], tolerance("fp32"), False)
    notes = run_stage(stage, {"artifact": compiled, "reference": two["reference"]}, tmp_path / "check").notes
    assert notes["parity"]["left_out"] == ["min", "max"]
    assert notes["says"].endswith("; it does not take min, max")


def test_sizes_of_outputs_are_told_as_the_reshaped_graph_has_them(two, tmp_path):
    compiled = ir(two["direct"], tmp_path / "ir", reshape={"input": [2, 3, 32, [16, 48]]})
    assert Interface.read(compiled).outputs["features"].shape == [2, 4, 32, None]


@pytest.mark.parametrize(
    ("requested", "says"),
    [
        ({"inputs": {"image": Input(["batch", 3, 32, 32])}}, "the IR's inputs are input; asked for were image"),
        ({"outputs": {}}, "the IR's outputs are scores, features; asked for were "),
        ({"inputs": {"input": Input(["batch", 3, 32, 32], "float16")}}, "asked for as float16 and is float32"),
        ({"inputs": {"input": Input(["batch", 3, 32, None])}}, "dimension 3 of input 'input' was asked for as None"),
    ],
)
def test_what_the_ir_has_otherwise_than_asked_is_found_when_it_is_read_back(two, tmp_path, requested, says):
    import openvino

    compiled = ir(two["direct"], tmp_path / "ir")
    wrong = replace(Interface.read(compiled), **requested)
    with pytest.raises(CheckFailed, match=says):
        ir_conversion._read_back(openvino.Core().read_model(compiled.file), wrong)
