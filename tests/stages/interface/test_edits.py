"""interface/edits.py: an IR whose interface is not the model's is held to the model's answers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from harness import (
    IMAGE,
    VECTOR,
    TinyConv,
    TwoOutputs,
    backend,
    capture,
    export,
    ir,
    module,
    record,
    reference_in,
    run_stage,
    tolerance,
    world,
)
from torch import nn

from pipeline.errors import CheckFailed, ConfigError, StageError
from stages.capture.capture_export import CaptureExport
from stages.capture.capture_trace import CaptureTrace
from stages.checking.check import Check
from stages.interface import images as photographs
from stages.interface.edits import NOTHING, Images
from stages.interface.images import Preprocessing
from stages.interface.interface import Dim, Input, Interface
from stages.openvino import convert as ir_conversion
from stages.openvino.compile_openvino import CompileOpenvino
from stages.reference import as_met, evidence
from stages.reference import cases as reference_cases
from stages.reference.cases import Case
from stages.reference.record_reference import RecordReference


@pytest.fixture(autouse=True)
def _openvino():
    backend("openvino")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A model of two outputs: its reference, and its program by either route."""
    folder = tmp_path_factory.mktemp("two")
    graph = export("trace", TwoOutputs(), folder, outputs=["scores", "features"])
    traced = capture("trace", TwoOutputs(), folder / "again", outputs=["scores", "features"])
    return {"reference": reference_in(folder), "onnx": graph, "direct": replace(traced, folder=folder / "trace")}


@pytest.fixture(params=["direct", "onnx"])
def route(request):
    return request.param


def held(made, reference, folder):
    stage = Check("float32", {}, [], tolerance("fp32"), False)
    return run_stage(stage, {"artifact": made, "reference": reference}, folder / "check").notes["parity"]["cases"]


def ports(made):
    import openvino

    model = openvino.Core().read_model(made.file)
    return {p.any_name: f"{p.element_type.to_string()}{p.partial_shape}" for p in (*model.inputs, *model.outputs)}


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


@pytest.mark.parametrize(("edits", "wanted", "cases"), CASES.values(), ids=CASES)
def test_an_edited_ir_is_as_it_was_asked_for_and_agrees_with_the_model(two, route, tmp_path, edits, wanted, cases):
    made = ir(two[route], tmp_path / "ir", **edits)
    assert wanted.items() <= ports(made).items()
    assert len(held(made, two["reference"], tmp_path)) == cases


def test_outputs_that_were_not_chosen_are_gone(two, route, tmp_path):
    assert list(ports(ir(two[route], tmp_path / "ir", outputs=["scores"]))) == ["input", "scores"]


def test_an_input_in_half_precision_is_rounded_like_the_references(two, route, tmp_path):
    made = ir(two[route], tmp_path / "ir", dtypes={"input": "float16"})
    assert ports(made)["input"] == "f16[1..8,3,32,32]"
    loose = Check("float32", {}, [], tolerance("fp16"), False)
    run_stage(loose, {"artifact": made, "reference": two["reference"]}, tmp_path / "check")


def test_the_reference_is_asked_in_the_artifacts_own_types_names_and_order(two, tmp_path):
    made = ir(
        two["direct"],
        tmp_path / "ir",
        names={"input": "image", "scores": "logits"},
        dtypes={"input": "float16", "scores": "float64"},
        layouts={"input": "NCHW->NHWC"},
        outputs=["scores"],
    )
    (recorded, *_) = reference_cases.read(two["reference"])
    met = as_met.case_for(made, recorded)
    assert {n: (str(v.dtype), v.shape) for n, v in met.inputs.items()} == {"image": ("float16", (2, 32, 32, 3))}
    assert {n: (str(v.dtype), v.shape) for n, v in met.outputs.items()} == {"logits": ("float64", (2, 10))}


def test_a_layout_is_read_back(two, tmp_path):
    import openvino

    made = ir(two["direct"], tmp_path / "ir", layouts={"input": "NCHW"})
    assert str(openvino.Core().read_model(made.file).input("input").get_node().layout) == "[N,C,H,W]"


def test_an_edit_that_is_wrong_is_found_by_the_check(two, tmp_path):
    made = ir(two["direct"], tmp_path / "ir", layouts={"input": "NCHW->NCWH"})
    lied = replace(made, facts={**made.facts, "edits": {"layouts": {"input": "NCHW"}}})
    with pytest.raises(CheckFailed, match="does not agree"):
        held(lied, two["reference"], tmp_path)


def test_a_size_that_the_reference_does_not_have_is_not_called_checked(two, tmp_path):
    made = ir(two["direct"], tmp_path / "ir", reshape={"input": [5, 3, 32, 32]})
    with pytest.raises(CheckFailed, match="no case that this openvino takes"):
        held(made, two["reference"], tmp_path)


def test_a_further_size_of_the_reference_serves_it(two, tmp_path):
    stage = RecordReference(
        IMAGE, {"batch": Dim(1, 2, 8)}, None, None, None, False, None, [{"input": [5, 3, 32, 32]}], 0
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
    (problem,) = wanted(edits=replace(NOTHING, **edits), preprocessing=None).problems()
    assert problem.what.startswith(f"edits.{what}")


@pytest.mark.parametrize(("key", "value", "near"), [("color", "GRB", "RGB"), ("layout", "HWC", "NHWC")])
def test_a_wrong_word_about_images_is_a_problem(key, value, near):
    (problem,) = wanted(edits=replace(NOTHING, images=Images(**{key: value}))).problems()
    assert problem.what == f"edits.images.{key} is {value}, did you mean '{near}'?"


def test_a_shape_that_the_graph_does_not_take_names_the_input_and_the_node(two, tmp_path):
    with pytest.raises(StageError) as told:
        ir(two["onnx"], tmp_path / "ir", reshape={"input": [1, 4, 32, 32]})
    (problem,) = told.value.problems
    assert problem.what.startswith("the graph does not take input [1,4,32,32]: node '/model/conv/Conv")
    assert "Data batch channel count (4) does not match filter input channel count (3)" in problem.what


# ── raw photographs ───────────────────────────────────────────────────────────────────────────────────────────────────

PICTURES = Preprocessing(40, [0.4, 0.5, 0.6], [0.2, 0.3, 0.25])


class NhwcConv(TinyConv):
    """Takes its channels last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 3, 1, 2))


# Three of different sizes, and the first in batches.
SHOWN = ["1x240x320x3", "1x301x199x3", "1x97x131x3", "2x240x320x3", "3x240x320x3", "8x240x320x3"]


def pictured(net, folder, how, images, *, inputs=IMAGE, dims=None):
    """The IR of a module that takes photographs, and its reference."""
    dims = {"batch": Dim(1, 2, 8)} if dims is None else dims

    made = module(net)
    reference = run_stage(RecordReference(inputs, dims, None, None, how, True, None, [], 0), made, folder / "reference")
    traced = run_stage(CaptureTrace(), {"module": made, "reference": reference}, folder / "traced")
    return ir(traced, folder / "ir", preprocessing=how, images=images), reference


@pytest.mark.parametrize(
    "how",
    [
        PICTURES,
        replace(PICTURES, resize=[32, 32]),
        replace(PICTURES, resize=[48, 36], interpolation="bicubic"),
        replace(PICTURES, color="BGR", scale=1.0, mean=[100.0, 110.0, 120.0], std=[1.0]),
    ],
    ids=["shorter side", "both sides", "bicubic", "BGR, bytes"],
)
@pytest.mark.parametrize("images", [Images(), Images("input", "BGR", "NCHW")], ids=["RGB NHWC", "BGR NCHW"])
def test_raw_photographs_give_the_answers_of_the_model_with_its_preprocessing(tmp_path, how, images):
    made, reference = pictured(TinyConv(), tmp_path, how, images)
    shape = "[1..8,?,?,3]" if images.layout == "NHWC" else "[1..8,3,?,?]"
    assert ports(made)["input"] == f"u8{shape}"
    stage = Check("float32", {}, [], tolerance("fp32_raw_images"), False)
    cases = run_stage(stage, {"artifact": made, "reference": reference}, tmp_path / "check").notes["parity"]["cases"]
    assert [c["shape"] for c in cases if images.layout == "NHWC"] in ([], SHOWN)


def test_a_model_that_takes_channels_last_takes_photographs_too(tmp_path):
    how, spec = replace(PICTURES, layout="NHWC"), {"input": Input([2, 32, 32, 3])}
    made, reference = pictured(NhwcConv(), tmp_path, how, Images(), inputs=spec, dims={})
    assert ports(made)["input"] == "u8[2,?,?,3]"
    stage = Check("float32", {}, [], tolerance("fp32_raw_images"), False)
    run_stage(stage, {"artifact": made, "reference": reference}, tmp_path / "check")


def test_photographs_in_another_order_of_colours_are_found_by_the_check(tmp_path):
    made, reference = pictured(TinyConv(), tmp_path, PICTURES, Images(color="BGR"))
    lied = replace(made, facts={**made.facts, "edits": {"images": {**vars(Images(input="input"))}}})
    stage = Check("float32", {}, [], tolerance("fp32_raw_images"), False)
    with pytest.raises(CheckFailed, match="does not agree"):
        run_stage(stage, {"artifact": lied, "reference": reference}, tmp_path / "check")


def test_a_photograph_that_would_be_scaled_below_the_models_size_is_refused(two, tmp_path):
    with pytest.raises(ConfigError, match="resize is 24, and the model takes 32x32"):
        ir(two["direct"], tmp_path / "ir", preprocessing=replace(PICTURES, resize=24), images=Images())


def test_the_bytes_of_photographs_are_kept_beside_what_the_model_was_asked(tmp_path):
    _, reference = pictured(TinyConv(), tmp_path, PICTURES, Images())
    shown = [c for c in reference_cases.read(reference) if c.raw]
    for case, photograph in zip(shown[:3], photographs.drawn(0), strict=True):
        np.testing.assert_array_equal(case.raw["input"], photograph[None])
        np.testing.assert_array_equal(case.inputs["input"][0], photographs.prepared(photograph, 32, 32, PICTURES))


class TwoImages(nn.Module):
    """Has no one input that a photograph could stand for."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x * 2 + y).mean((2, 3))


def test_which_input_a_photograph_stands_for_must_be_clear(tmp_path):
    spec = {n: Input([2, 3, 32, 32]) for n in ("left", "right")}
    program = capture("trace", TwoImages(), tmp_path, inputs=spec, dims={})
    with pytest.raises(ConfigError) as told:
        ir(program, tmp_path / "ir", preprocessing=PICTURES, images=Images())
    assert told.value.problems[0].allowed == "left, right"


def test_a_reference_of_photographs_wants_to_know_how_they_are_prepared():
    stage = RecordReference(IMAGE, {"batch": Dim(1, 2, 8)}, None, None, None, True, None, [], 0)
    (problem,) = stage.problems()
    assert problem.what.startswith("photographs is true")


@pytest.mark.parametrize("shapes", [{"inptu": [5, 3, 32, 32]}, {"input": [0, 3, 32, 32]}, {"input": []}, {}])
def test_a_further_shape_that_cannot_be_is_a_problem(shapes):
    stage = RecordReference(IMAGE, {"batch": Dim(1, 2, 8)}, None, None, None, False, None, [shapes], 0)
    (problem,) = stage.problems()
    assert problem.what.startswith(f"shapes {'names' if 'inptu' in shapes else 'has'}")


def test_the_recorded_answers_do_not_depend_on_how_an_array_lies_in_memory(tmp_path):
    reference = record(TinyConv(), tmp_path / "reference")
    (case, *_) = reference_cases.read(reference)
    channels_last = np.ascontiguousarray(case.inputs["input"].transpose(0, 2, 3, 1))
    turned = replace(case, inputs={"input": channels_last.transpose(0, 3, 1, 2)})
    folder = tmp_path / "again"
    folder.mkdir()
    reference_cases.write(folder, [turned], {})
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


def wanted(**settings):
    return replace(CompileOpenvino("float32", NOTHING, PICTURES, []), **settings)


def test_preprocessing_decides_an_ir_only_where_it_is_compiled_in(tmp_path):
    here, other = world(tmp_path), replace(PICTURES, resize=41)
    pictured = replace(NOTHING, images=Images())
    assert wanted().identity(here) == wanted(preprocessing=other).identity(here)
    assert wanted(edits=pictured).identity(here) != wanted(edits=pictured, preprocessing=other).identity(here)


def test_an_extension_decides_an_ir_by_its_content(tmp_path):
    library = tmp_path / "ops.so"
    library.write_text("one")
    before = wanted(extensions=[str(library)]).identity(world(tmp_path))
    library.write_text("another")
    assert wanted(extensions=[str(library)]).identity(world(tmp_path)) != before != wanted().identity(world(tmp_path))


class Baked(nn.Module):
    """Divides by the number of pixels, which is the example's where a capture takes them for fixed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).sum((2, 3)) / (x.shape[2] * x.shape[3])


def reshaped(folder, shapes):
    """Baked's IR for heights from 8 to 32, and its reference with further shapes."""
    given, net = {"input": Input([2, 3, 16, 16])}, module(Baked())
    reference = run_stage(RecordReference(given, {}, None, None, None, False, None, shapes, 0), net, folder / "ref")
    program = run_stage(CaptureExport(2**30), {"module": net, "reference": reference}, folder / "program")
    return ir(program, folder / "ir", reshape={"input": [2, 3, [8, 32], 16]}), reference


def sized(*shape):
    return {"input": list(shape)}


ENDS = [sized(2, 3, 8, 16), sized(2, 3, 32, 16)]


def test_a_dimension_that_was_let_free_is_compared_at_both_ends(tmp_path):
    made, reference = reshaped(tmp_path, ENDS[:1])
    with pytest.raises(
        CheckFailed, match="let sizes free that were not compared: dimension 2 of 'input' at 32"
    ) as told:
        held(made, reference, tmp_path)
    assert told.value.problems[0].command.count("{input: [2, 3, ") == 2


def test_a_size_that_a_graph_has_baked_in_is_found_at_another(tmp_path):
    made, reference = reshaped(tmp_path, ENDS)
    with pytest.raises(CheckFailed, match=r"input 2x3x32x16 \(2x3x32x16\): output 'output' max_rel"):
        held(made, reference, tmp_path)


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
    told = [json.loads(s.replace("input", '"input"')) for s in evidence._shapes(SQUARES, model)]
    cases = [Case("", {"input": np.zeros(s["input"])}, {}) for s in (sized(2, 3, 16, 16), *told)]
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


def test_floating_point_numbers_that_become_infinite_do_not_pass(tmp_path):
    class Big(FixedHead):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x) * 1e8

    made = ir(capture("trace", Big(), tmp_path, inputs=VECTOR), tmp_path / "ir", dtypes={"output": "float16"})
    with pytest.raises(CheckFailed, match=r"edits\.dtypes\.output is float16, which cannot hold"):
        held(made, reference_in(tmp_path), tmp_path)


class FixedHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)


def test_whole_numbers_that_a_floating_point_type_rounds_do_not_pass(tmp_path):
    class Index(FixedHead):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x).argmax(1) + 46211

    made = ir(capture("trace", Index(), tmp_path, inputs=VECTOR), tmp_path / "ir", dtypes={"output": "float16"})
    with pytest.raises(CheckFailed, match="which cannot hold"):
        held(made, reference_in(tmp_path), tmp_path)


def test_a_case_that_an_artifact_does_not_take_is_told(two, tmp_path):
    made = ir(two["direct"], tmp_path / "ir", reshape={"input": [[2, 4], 3, 32, 32]})
    stage = Check("float32", {}, [], tolerance("fp32"), False)
    notes = run_stage(stage, {"artifact": made, "reference": two["reference"]}, tmp_path / "check").notes
    assert notes["parity"]["left_out"] == ["min", "max"]
    assert notes["says"].endswith("; it does not take min, max")


def test_photographs_go_with_further_shapes_of_the_other_inputs(tmp_path):
    class Beside(TinyConv):
        def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + z.mean()

    spec, net = {"x": Input([1, 3, 32, 32]), "z": Input([4, 8])}, module(Beside())
    shapes = [{"z": [1, 8]}, {"z": [6, 8]}]
    stage = RecordReference(spec, {}, None, None, PICTURES, True, None, shapes, 0)
    reference = run_stage(stage, net, tmp_path / "reference")
    program = run_stage(CaptureTrace(), {"module": net, "reference": reference}, tmp_path / "traced")
    made = ir(program, tmp_path / "ir", preprocessing=PICTURES, images=Images("x"), reshape={"z": [[1, 6], 8]})
    check = Check("float32", {}, [], tolerance("fp32_raw_images"), False)
    cases = run_stage(check, {"artifact": made, "reference": reference}, tmp_path / "check").notes["parity"]["cases"]
    assert {c["shape"].split(", ")[1] for c in cases} == {"4x8", "1x8", "6x8"}


def test_sizes_of_outputs_are_told_as_the_reshaped_graph_has_them(two, tmp_path):
    made = ir(two["direct"], tmp_path / "ir", reshape={"input": [2, 3, 32, [16, 48]]})
    assert Interface.of(made).outputs["features"].shape == [2, 4, 32, None]


class BlindBeside(TinyConv):
    """Scores, and an output that no input changes."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super().forward(x), torch.ones(x.shape[0], 2) * self.head.bias[0]


def test_an_output_that_says_nothing_does_not_pass_by_itself(tmp_path):
    program = capture("trace", BlindBeside(), tmp_path, outputs=["scores", "constant"])
    made = ir(program, tmp_path / "ir", outputs=["constant"])
    with pytest.raises(CheckFailed, match="constant: the same for every input"):
        held(made, reference_in(tmp_path), tmp_path)


@pytest.mark.parametrize("name", ["input", "scores"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "bool"])
def test_floating_point_numbers_are_not_cut_to_whole_ones(two, tmp_path, name, dtype):
    with pytest.raises(ConfigError, match=f"edits.dtypes.{name} is {dtype}, which cannot hold float32"):
        ir(two["direct"], tmp_path / "ir", dtypes={name: dtype})


class Embedded(nn.Module):
    """Takes numbers of words."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(400, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.embedding(x)


@pytest.mark.parametrize(("dtype", "fits"), [("int32", True), ("uint8", False)])
def test_whole_numbers_in_a_narrower_type_must_fit(tmp_path, dtype, fits):
    ids = {"x": Input([2, 5], "int64", {"integers": [0, 400]})}
    made = ir(capture("trace", Embedded(), tmp_path, inputs=ids, dims={}), tmp_path / "ir", dtypes={"x": dtype})
    if fits:
        held(made, reference_in(tmp_path), tmp_path)
        return
    with pytest.raises(CheckFailed, match=r"edits\.dtypes\.x is uint8, which cannot hold"):
        held(made, reference_in(tmp_path), tmp_path)


class CutBatch(TinyConv):
    """Mixes in as many rows as the example has, as a trace sees it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = super().forward(x)
        return scores + scores[: int(x.shape[0])].sum(0)


def test_a_batch_that_a_trace_cut_is_found_where_photographs_go_in(tmp_path):
    made, reference = pictured(CutBatch(), tmp_path, PICTURES, Images())
    stage = Check("float32", {}, [], tolerance("fp32_raw_images"), False)
    with pytest.raises(CheckFailed, match=r"photograph . \(8x240x320x3\)"):
        run_stage(stage, {"artifact": made, "reference": reference}, tmp_path / "check")


def test_the_rows_of_a_batch_of_photographs_differ():
    (photograph, *_) = photographs.drawn(0)
    rows = [photographs.variant(photograph, n) for n in range(9)]
    assert all((a != b).any() for i, a in enumerate(rows) for b in rows[:i])
    assert (rows[0] == photograph).all()


@pytest.mark.parametrize("photographed", ["left", "right"])
def test_of_several_inputs_one_may_be_photographs(tmp_path, photographed):
    spec, made = {n: Input([2, 3, 32, 32]) for n in ("left", "right")}, module(TwoImages())
    stage = RecordReference(spec, {}, None, None, PICTURES, True, photographed, [], 0)
    reference = run_stage(stage, made, tmp_path / "reference")
    program = run_stage(CaptureTrace(), {"module": made, "reference": reference}, tmp_path / "traced")
    compiled = ir(program, tmp_path / "ir", preprocessing=PICTURES, images=Images(photographed))
    other = "right" if photographed == "left" else "left"
    assert {photographed: "u8[2,?,?,3]", other: "f32[2,3,32,32]"}.items() <= ports(compiled).items()
    check = Check("float32", {}, [], tolerance("fp32_raw_images"), False)
    run_stage(check, {"artifact": compiled, "reference": reference}, tmp_path / "check")


def test_without_saying_which_of_several_a_reference_of_photographs_is_refused(tmp_path):
    spec = {n: Input([2, 3, 32, 32]) for n in ("left", "right")}
    stage = RecordReference(spec, {}, None, None, PICTURES, True, None, [], 0)
    with pytest.raises(ConfigError, match="photographed is None, and left, right could be photographs"):
        run_stage(stage, module(TwoImages()), tmp_path / "reference")


@pytest.mark.parametrize("images", [{}, {"color": "BGR"}, {"input": "x", "layout": "NCHW"}])
def test_a_mapping_asks_for_images(images):
    assert replace(NOTHING, images=images).images == Images(**images)


@pytest.mark.parametrize("images", [True, "raw", {"colour": "BGR"}])
def test_anything_else_about_images_is_a_problem(images):
    (problem,) = wanted(edits=replace(NOTHING, images=images)).problems()
    assert problem.what == f"edits.images is {images}"


def test_weights_that_float16_cannot_hold_are_not_called_stored_in_it(tmp_path):
    net = nn.Linear(64, 64)
    with torch.no_grad():
        net.weight.fill_(1e6)
    program = capture("trace", net, tmp_path, inputs={"x": Input([2, 64], fill="normal")}, dims={})
    with pytest.raises(CheckFailed, match="asked to store weights in float16, OpenVINO left 16,"):
        ir(program, tmp_path / "ir", storage="float16")


def test_a_range_gets_a_name_that_no_dimension_has(tmp_path):
    spec, dims = {"x": Input(["x_1", 4], fill="normal")}, {"x_1": Dim(1, 2, 8)}
    made = ir(
        capture("trace", nn.Identity(), tmp_path, inputs=spec, dims=dims),
        tmp_path / "ir",
        reshape={"x": ["x_1", [2, 4]]},
    )
    told = Interface.of(made)
    assert (told.inputs["x"].shape, told.dims["x_1"].max, told.dims["x_1_"].max) == (["x_1", "x_1_"], 8, 4)


def test_the_photographs_of_a_batch_differ_in_the_reference(tmp_path):
    _, reference = pictured(TinyConv(), tmp_path, PICTURES, Images())
    (largest,) = [c for c in reference_cases.read(reference) if c.raw and len(c.raw["input"]) == 8]
    assert len({row.tobytes() for row in largest.raw["input"]}) == 8


def test_a_reference_of_photographs_needs_pillow():
    stage = RecordReference(IMAGE, {"batch": Dim(1, 2, 8)}, None, None, PICTURES, True, None, [], 0)
    assert "PIL" in stage.modules({})
    assert "PIL" not in replace(stage, photographs=False).modules({})


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"inputs": {"image": Input(["batch", 3, 32, 32])}}, "the IR's inputs are input; asked for were image"),
        ({"outputs": {}}, "the IR's outputs are scores, features; asked for were "),
        ({"inputs": {"input": Input(["batch", 3, 32, 32], "float16")}}, "asked for as float16 and is float32"),
        ({"inputs": {"input": Input(["batch", 3, 32, None])}}, "dimension 3 of input 'input' was asked for as None"),
    ],
)
def test_what_the_ir_has_otherwise_than_asked_is_found_when_it_is_read_back(two, tmp_path, asked, says):
    import openvino

    made = ir(two["direct"], tmp_path / "ir")
    wrong = replace(Interface.of(made), **asked)
    with pytest.raises(CheckFailed, match=says):
        ir_conversion._read_back(openvino.Core().read_model(made.file), wrong)
