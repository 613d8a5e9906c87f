"""interface/edits.py, raw photographs: an IR that takes them gives the answers of the model with its preprocessing."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from conversions import capture, ir, ports
from harness import IMAGE, module, run_stage, tolerance
from nets import TinyConv
from torch import nn

from pipeline.errors import CheckFailed, ConfigError
from stages.capture.capture_trace import CaptureTrace
from stages.checking.check import Check
from stages.interface import images as photographs
from stages.interface.edits import NOTHING, Images
from stages.interface.images import Preprocessing
from stages.interface.interface import Dim, Input
from stages.openvino.compile_openvino import CompileOpenvino
from stages.reference import cases as reference_cases
from stages.reference.record_reference import RecordReference

pytestmark = pytest.mark.usefixtures("openvino")

PICTURES = Preprocessing(40, [0.4, 0.5, 0.6], [0.2, 0.3, 0.25])


def compiling(**settings):
    return replace(CompileOpenvino("float32", NOTHING, PICTURES, []), **settings)


@pytest.mark.parametrize(("key", "value", "near"), [("color", "GRB", "RGB"), ("layout", "HWC", "NHWC")])
def test_a_wrong_word_about_images_is_a_problem(key, value, near):
    (problem,) = compiling(edits=replace(NOTHING, images=Images(**{key: value}))).problems()
    assert problem.what == f"edits.images.{key} is {value}, did you mean '{near}'?"


class NhwcConv(TinyConv):
    """Takes its channels last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 3, 1, 2))


# Three of different sizes, and the first in batches.
SHOWN = ["1x240x320x3", "1x301x199x3", "1x97x131x3", "2x240x320x3", "3x240x320x3", "8x240x320x3"]


def pictured(net, folder, how, images, *, inputs=IMAGE, dims=None):
    """The IR of a module that takes photographs, and its reference."""
    dims = {"batch": Dim(1, 2, 8)} if dims is None else dims

    net_module = module(net)
    reference = run_stage(
        RecordReference(inputs, dims, None, None, how, True, None, [], 0, "quick", None, 16),
        net_module,
        folder / "reference",
    )
    traced = run_stage(CaptureTrace(), {"module": net_module, "reference": reference}, folder / "traced")
    return ir(traced, folder / "ir", preprocessing=how, images=images), reference


HOW = {
    "shorter side": PICTURES,
    "both sides": replace(PICTURES, resize=[32, 32]),
    "bicubic": replace(PICTURES, resize=[48, 36], interpolation="bicubic"),
    "BGR, bytes": replace(PICTURES, color="BGR", scale=1.0, mean=[100.0, 110.0, 120.0], std=[1.0]),
}
IMAGE_EDITS = {"RGB NHWC": Images(), "BGR NCHW": Images("input", "BGR", "NCHW")}
QUICK = [("shorter side", "RGB NHWC"), ("BGR, bytes", "BGR NCHW")]


@pytest.mark.parametrize(
    ("how", "images"),
    [pytest.param(*c, marks=[] if c in QUICK else pytest.mark.slow) for c in itertools.product(HOW, IMAGE_EDITS)],
)
def test_raw_photographs_give_the_answers_of_the_model_with_its_preprocessing(tmp_path, how, images):
    images = IMAGE_EDITS[images]
    compiled, reference = pictured(TinyConv(), tmp_path, HOW[how], images)
    shape = "[1..8,?,?,3]" if images.layout == "NHWC" else "[1..8,3,?,?]"
    assert ports(compiled)["input"] == f"u8{shape}"
    stage = Check("float32", {}, [], tolerance("fp32_raw_images"), False)
    cases = run_stage(stage, {"artifact": compiled, "reference": reference}, tmp_path / "check").notes["parity"][
        "cases"
    ]
    assert [c["shape"] for c in cases if images.layout == "NHWC"] in ([], SHOWN)


def test_a_model_that_takes_channels_last_takes_photographs_too(tmp_path):
    how, spec = replace(PICTURES, layout="NHWC"), {"input": Input([2, 32, 32, 3])}
    compiled, reference = pictured(NhwcConv(), tmp_path, how, Images(), inputs=spec, dims={})
    assert ports(compiled)["input"] == "u8[2,?,?,3]"
    stage = Check("float32", {}, [], tolerance("fp32_raw_images"), False)
    run_stage(stage, {"artifact": compiled, "reference": reference}, tmp_path / "check")


def test_photographs_in_another_order_of_colours_are_found_by_the_check(tmp_path):
    compiled, reference = pictured(TinyConv(), tmp_path, PICTURES, Images(color="BGR"))
    lied = replace(compiled, facts={**compiled.facts, "edits": {"images": {**vars(Images(input="input"))}}})
    stage = Check("float32", {}, [], tolerance("fp32_raw_images"), False)
    with pytest.raises(CheckFailed, match="does not agree"):
        run_stage(stage, {"artifact": lied, "reference": reference}, tmp_path / "check")


def test_a_photograph_that_would_be_scaled_below_the_models_size_is_refused(two, tmp_path):
    with pytest.raises(ConfigError, match="resize is 24, and the model takes 32x32"):
        ir(two["direct"], tmp_path / "ir", preprocessing=replace(PICTURES, resize=24), images=Images())


@pytest.fixture(scope="module")
def shown_to_tiny(tmp_path_factory):
    """The reference of a small model that was asked about photographs."""
    stage = RecordReference(IMAGE, {"batch": Dim(1, 2, 8)}, None, None, PICTURES, True, None, [], 0, "quick", None, 16)
    return run_stage(stage, module(TinyConv()), tmp_path_factory.mktemp("shown") / "reference")


def test_the_bytes_of_photographs_are_kept_beside_what_the_model_was_asked(shown_to_tiny):
    shown = [c for c in reference_cases.read(shown_to_tiny) if c.raw]
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
    with pytest.raises(ConfigError) as caught:
        ir(program, tmp_path / "ir", preprocessing=PICTURES, images=Images())
    assert caught.value.problems[0].allowed == "left, right"


def test_a_reference_of_photographs_wants_to_know_how_they_are_prepared():
    stage = RecordReference(IMAGE, {"batch": Dim(1, 2, 8)}, None, None, None, True, None, [], 0, "quick", None, 16)
    (problem,) = stage.problems()
    assert problem.what.startswith("photographs is true")


def test_photographs_go_with_further_shapes_of_the_other_inputs(tmp_path):
    class Beside(TinyConv):
        def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + z.mean()

    spec, net = {"x": Input([1, 3, 32, 32]), "z": Input([4, 8])}, module(Beside())
    shapes = [{"z": [1, 8]}, {"z": [6, 8]}]
    stage = RecordReference(spec, {}, None, None, PICTURES, True, None, shapes, 0, "quick", None, 16)
    reference = run_stage(stage, net, tmp_path / "reference")
    program = run_stage(CaptureTrace(), {"module": net, "reference": reference}, tmp_path / "traced")
    compiled = ir(program, tmp_path / "ir", preprocessing=PICTURES, images=Images("x"), reshape={"z": [[1, 6], 8]})
    check = Check("float32", {}, [], tolerance("fp32_raw_images"), False)
    cases = run_stage(check, {"artifact": compiled, "reference": reference}, tmp_path / "check").notes["parity"][
        "cases"
    ]
    assert {c["shape"].split(", ")[1] for c in cases} == {"4x8", "1x8", "6x8"}


class CutBatch(TinyConv):
    """Mixes in as many rows as the example has, as a trace sees it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = super().forward(x)
        return scores + scores[: int(x.shape[0])].sum(0)


def test_a_batch_that_a_trace_cut_is_found_where_photographs_go_in(tmp_path):
    compiled, reference = pictured(CutBatch(), tmp_path, PICTURES, Images())
    stage = Check("float32", {}, [], tolerance("fp32_raw_images"), False)
    with pytest.raises(CheckFailed, match=r"photograph . \(8x240x320x3\)"):
        run_stage(stage, {"artifact": compiled, "reference": reference}, tmp_path / "check")


def test_the_rows_of_a_batch_of_photographs_differ():
    (photograph, *_) = photographs.drawn(0)
    rows = [photographs.variant(photograph, n) for n in range(9)]
    assert all((a != b).any() for i, a in enumerate(rows) for b in rows[:i])
    assert (rows[0] == photograph).all()


@pytest.mark.parametrize("photographed", [pytest.param("left", marks=pytest.mark.slow), "right"])
def test_of_several_inputs_one_may_be_photographs(tmp_path, photographed):
    spec, net = {n: Input([2, 3, 32, 32]) for n in ("left", "right")}, module(TwoImages())
    stage = RecordReference(spec, {}, None, None, PICTURES, True, photographed, [], 0, "quick", None, 16)
    reference = run_stage(stage, net, tmp_path / "reference")
    program = run_stage(CaptureTrace(), {"module": net, "reference": reference}, tmp_path / "traced")
    compiled = ir(program, tmp_path / "ir", preprocessing=PICTURES, images=Images(photographed))
    other = "right" if photographed == "left" else "left"
    assert {photographed: "u8[2,?,?,3]", other: "f32[2,3,32,32]"}.items() <= ports(compiled).items()
    check = Check("float32", {}, [], tolerance("fp32_raw_images"), False)
    run_stage(check, {"artifact": compiled, "reference": reference}, tmp_path / "check")


def test_without_saying_which_of_several_a_reference_of_photographs_is_refused(tmp_path):
    spec = {n: Input([2, 3, 32, 32]) for n in ("left", "right")}
    stage = RecordReference(spec, {}, None, None, PICTURES, True, None, [], 0, "quick", None, 16)
    with pytest.raises(ConfigError, match="photographed is None, and left, right could be photographs"):
        run_stage(stage, module(TwoImages()), tmp_path / "reference")


@pytest.mark.parametrize("images", [{}, {"color": "BGR"}, {"input": "x", "layout": "NCHW"}])
def test_a_mapping_asks_for_images(images):
    assert replace(NOTHING, images=images).images == Images(**images)


@pytest.mark.parametrize("images", [True, "raw", {"colour": "BGR"}])
def test_anything_else_about_images_is_a_problem(images):
    (problem,) = compiling(edits=replace(NOTHING, images=images)).problems()
    assert problem.what == f"edits.images is {images}"


def test_the_photographs_of_a_batch_differ_in_the_reference(shown_to_tiny):
    (largest,) = [c for c in reference_cases.read(shown_to_tiny) if c.raw and len(c.raw["input"]) == 8]
    assert len({row.tobytes() for row in largest.raw["input"]}) == 8


def test_a_reference_of_photographs_needs_pillow():
    stage = RecordReference(IMAGE, {"batch": Dim(1, 2, 8)}, None, None, PICTURES, True, None, [], 0, "quick", None, 16)
    assert "PIL" in stage.modules({})
    assert "PIL" not in replace(stage, photographs=False).modules({})
