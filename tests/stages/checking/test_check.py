"""checking/check.py: nothing wrong gets past it, and nothing right is stopped."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from conversions import edited, export, ir
from harness import (
    BATCH_SEQ,
    IMAGE,
    TOKENS,
    VECTOR,
    backend,
    module,
    record,
    reference_in,
    run_stage,
    skip_unless_bfloat16,
    tolerance,
    world,
)
from nets import Attention, Bessel, ValueBranch
from onnx import TensorProto, helper, numpy_helper

from pipeline.artifact import Artifact
from pipeline.errors import CHECK_FAILED, CheckFailed
from stages.checking.check import Check
from stages.formats.ignored import Ignored
from stages.onnx.cast_fp16 import CastFp16
from stages.onnx.format import ONNX
from stages.openvino.format import OPENVINO
from stages.portable.comparison import Tolerance

ANY = Tolerance(max_rel=1e30, p99_rel=1e30, cosine=-1.0, top1=0.0)


def check(artifact, reference, folder, *, compute="float32", properties=None, limits=None):
    inputs = {"artifact": artifact, "reference": reference}
    return run_stage(Check(compute, properties or {}, [], limits or tolerance("fp32"), False), inputs, folder / "check")


def refused(artifact, reference, folder, **settings) -> str:
    with pytest.raises(CheckFailed) as caught:
        check(artifact, reference, folder, **settings)
    assert caught.value.exit_code == CHECK_FAILED == 5
    return str(caught.value)


def set_weight(name, at, change):
    """One element of one weight changed."""

    def edit(model):
        tensor = next(i for i in model.graph.initializer if i.name == name)
        values = numpy_helper.to_array(tensor).copy()
        values[at] = change(values[at])
        tensor.CopyFrom(numpy_helper.from_array(values, name))

    return edit


def rename_output(model):
    model.graph.node[-1].output[0] = model.graph.output[0].name = "scores"


def cast_output(model):
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(helper.make_node("Cast", ["before"], ["logits"], to=TensorProto.DOUBLE))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def add_output(model):
    model.graph.node.append(helper.make_node("Identity", ["logits"], ["extra"]))
    model.graph.output.append(model.graph.output[0])
    model.graph.output[1].name = "extra"


def flatten_output(model):
    model.graph.node[-1].output[0] = "before"
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), "flat"))
    model.graph.node.append(helper.make_node("Reshape", ["before", "flat"], ["logits"]))
    del model.graph.output[0].type.tensor_type.shape.dim[1:]


def freeze_batch(model):
    for port in (model.graph.input[0], model.graph.output[0]):
        port.type.tensor_type.shape.dim[0].dim_value = 2


def freeze_batch_inside(model):
    """The ports say dynamic; a reshape on the way knows one size only."""
    model.graph.node[-1].output[0] = "before"
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 10], np.int64), "two_rows"))
    model.graph.node.append(helper.make_node("Reshape", ["before", "two_rows"], ["logits"]))


def test_an_artifact_that_agrees_goes_on_as_it_is(graph, reference, tmp_path):
    result = check(replace(graph, digest="d" * 64), reference, tmp_path)
    assert (result.folder, result.digest, result.facts) == (graph.folder, "d" * 64, graph.facts)


def test_the_figures_of_every_shape_are_told(graph, reference, tmp_path):
    parity = check(graph, reference, tmp_path).notes["parity"]
    shapes = {c["label"]: c["shape"] for c in parity["cases"]}
    assert shapes == {"example": "2x3x32x32", "min": "1x3x32x32", "odd": "3x3x32x32", "max": "8x3x32x32"}
    # Float32 with 27 products to a sum: 2e-7 was measured.
    assert all(0 <= c["outputs"]["logits"]["max_rel"] < 1e-5 for c in parity["cases"])
    assert (parity["runtime"], parity["computes_in"]) == ("onnx", "float32")


def test_it_claims_what_it_was_held_to_and_nothing_that_was_measured(graph, reference, tmp_path):
    limits = {"max_rel": 1e-2, "p99_rel": 1e-3, "cosine": 0.5, "top1": 0.25}
    limits |= {"differing": 0.5, "noise": 20.0, "families": "values"}
    result = check(graph, reference, tmp_path, limits=Tolerance(**limits))
    assert result.notes["claims"] == {
        "parity": {
            "against": "the PyTorch model",
            "tolerance": limits,
            "compute": "float32",
            "properties": {},
            "shapes": ["2x3x32x32", "1x3x32x32", "3x3x32x32", "8x3x32x32"],
            "families": [],
            "not_asked": {},
        }
    }


def test_openvino_ir_that_agrees_goes_on(ir, reference, tmp_path):
    parity = check(ir, reference, tmp_path).notes["parity"]
    assert parity["runtime"] == "openvino"
    assert set(parity["properties"]) == {"INFERENCE_PRECISION_HINT", "EXECUTION_MODE_HINT"}  # asked for or not


@pytest.mark.parametrize(
    ("weight", "at"),
    [("head.weight", (3, 1)), ("head.bias", 9), ("conv.weight", (2, 1, 0, 0)), ("conv.bias", 0)],
)
def test_one_changed_weight_is_found(graph, reference, tmp_path, weight, at):
    wrong = edited(graph, tmp_path / "wrong", set_weight(weight, at, lambda v: v + np.float32(0.01)))
    message = refused(wrong, reference, tmp_path)
    assert "this onnx does not agree with the PyTorch model" in message
    assert "output 'logits' max_rel" in message


def test_one_changed_weight_is_found_in_openvino_ir(graph, reference, tmp_path):
    backend("openvino")
    wrong = edited(graph, tmp_path / "wrong", set_weight("head.bias", 0, lambda v: v + np.float32(0.01)))
    wrong = ir(wrong, tmp_path / "ir")
    assert "this openvino does not agree" in refused(wrong, reference, tmp_path)


@pytest.mark.parametrize("label", ["example (2x3x32x32)", "min (1x3x32x32)", "odd (3x3x32x32)", "max (8x3x32x32)"])
def test_an_error_is_told_for_every_shape_that_has_it(graph, reference, tmp_path, label):
    wrong = edited(graph, tmp_path / "wrong", set_weight("head.bias", 0, lambda v: v + 1))
    assert f"{label}: output 'logits' max_rel" in refused(wrong, reference, tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_single_place_that_is_not_finite_is_found_whatever_the_tolerance(graph, reference, tmp_path, value):
    wrong = edited(graph, tmp_path / "wrong", set_weight("head.bias", 4, lambda _: np.float32(value)))
    name = {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}[str(value)]
    assert f"min (1x3x32x32): output 'logits' has 1 {name}, the model's has 0" in refused(
        wrong, reference, tmp_path, limits=ANY
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (cast_output, "output 'logits' has type float64, the model's has float32"),
        (rename_output, "its outputs are scores, the model's are logits"),
        (add_output, "its outputs are logits, extra, the model's are logits"),
        (flatten_output, "output 'logits' has shape (20,), the model's has (2, 10)"),
        (freeze_batch, "this onnx cannot be run at 1x3x32x32, which the model accepts"),
        (freeze_batch_inside, "this onnx cannot be run at 1x3x32x32, which the model accepts"),
    ],
)
def test_a_graph_of_another_shape_is_found_whatever_the_tolerance(graph, reference, tmp_path, change, says):
    wrong = edited(graph, tmp_path / "wrong", change)
    assert says in refused(wrong, reference, tmp_path, limits=ANY)


def test_openvino_ir_with_a_frozen_batch_is_found(graph, reference, tmp_path):
    backend("openvino")
    import openvino

    model = openvino.convert_model(graph.file)
    model.reshape({"input": [2, 3, 32, 32]})
    openvino.save_model(model, tmp_path / "model.xml", compress_to_fp16=False)
    message = refused(Artifact(OPENVINO, tmp_path), reference, tmp_path, limits=ANY)
    assert "this openvino cannot be run at 1x3x32x32" in message


def test_a_branch_that_was_fixed_while_tracing_is_found(tmp_path):
    graph = export("trace", ValueBranch(), tmp_path, inputs=VECTOR)
    assert "output 'output' max_rel" in refused(graph, reference_in(tmp_path), tmp_path)


def test_the_tolerance_of_float32_has_no_room_for_float16_weights(graph, reference, tmp_path):
    half = run_stage(CastFp16(Ignored([], [], []), []), graph, tmp_path / "half")
    check(half, reference, tmp_path, compute="float16", limits=tolerance("fp16"))
    assert "max_rel" in refused(half, reference, tmp_path / "again", compute="float16")


def test_the_tolerance_of_float32_has_no_room_for_bfloat16_computation(ir, reference, tmp_path):
    skip_unless_bfloat16()
    check(ir, reference, tmp_path, compute="bfloat16", limits=ANY)
    assert "max_rel" in refused(ir, reference, tmp_path / "again", compute="bfloat16")


@pytest.mark.parametrize(
    ("edge", "within"),
    [
        (lambda f: {"max_rel": f["max_rel"]}, True),
        (lambda f: {"max_rel": np.nextafter(f["max_rel"], 0)}, False),
        (lambda f: {"p99_rel": f["p99_rel"]}, True),
        (lambda f: {"p99_rel": np.nextafter(f["p99_rel"], 0)}, False),
        (lambda f: {"cosine": f["cosine"]}, True),
        (lambda f: {"cosine": np.nextafter(f["cosine"], 2)}, False),
        (lambda f: {"top1": f["top1"]}, True),
        (lambda f: {"top1": np.nextafter(f["top1"], 2)}, False),
    ],
    ids=[f"{name} {side}" for name in ("max_rel", "p99_rel", "cosine", "top1") for side in ("on the line", "beyond")],
)
def test_the_line_is_drawn_exactly_where_the_tolerance_says(graph, tiny, tmp_path, edge, within):
    # One fixed size: every machine rounds in its own way, so the edge is taken from the figures themselves.
    reference = record(tiny, tmp_path / "reference", inputs={"input": replace_batch(2)}, dims={}, outputs=["logits"])
    wrong = edited(graph, tmp_path / "wrong", set_weight("head.bias", 0, lambda v: v + np.float32(100)))
    (case,) = check(wrong, reference, tmp_path, limits=ANY).notes["parity"]["cases"]
    limits = replace(ANY, **{k: float(v) for k, v in edge(case["outputs"]["logits"]).items()})
    if within:
        check(wrong, reference, tmp_path / "again", limits=limits)
    else:
        refused(wrong, reference, tmp_path / "again", limits=limits)


def replace_batch(size):
    return replace(IMAGE["input"], shape=[size, *IMAGE["input"].shape[1:]])


def test_without_pinning_this_cpu_would_compute_in_bfloat16_and_pinned_it_reports_float32(ir, reference, tmp_path):
    skip_unless_bfloat16()
    import openvino

    unpinned = openvino.Core().compile_model(ir.file, "CPU").get_property("INFERENCE_PRECISION_HINT")
    assert unpinned.to_string() == "bf16"
    assert check(ir, reference, tmp_path).notes["parity"]["computes_in"] == "float32"


def test_a_precision_that_the_runtime_does_not_honour_is_refused(ir, reference, tmp_path):
    import openvino

    if "FP16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU computes in float16")
    assert "asked to compute in float16, the runtime computes in" in refused(
        ir, reference, tmp_path, compute="float16", limits=ANY
    )


@pytest.mark.parametrize("compute", ["fp32", "float64", "int8", ""])
def test_a_compute_type_that_is_unknown_is_a_problem(compute):
    (problem,) = Check(compute, {}, [], tolerance("fp32"), False).problems()
    assert problem.allowed == "float32, float16, bfloat16"


@pytest.mark.parametrize(("kind", "runtime"), [(ONNX, "onnxruntime"), (OPENVINO, "openvino")])
def test_it_requires_the_runtime_of_what_it_is_given_and_no_other(kind, runtime):
    needed = Check("float32", {}, [], tolerance("fp32"), False).modules({"artifact": kind})
    assert {"onnxruntime", "openvino"} & {*needed} == {runtime}


def test_a_model_with_dynamic_batch_and_length_is_checked_at_both(tmp_path):
    graph = export("trace", Attention(), tmp_path, inputs=TOKENS, dims=BATCH_SEQ)
    shapes = [c["shape"] for c in check(graph, reference_in(tmp_path), tmp_path).notes["parity"]["cases"]]
    assert shapes == ["2x4x8", "1x2x8", "3x5x8", "8x16x8"]


@pytest.mark.parametrize(("compute", "precision"), [("float32", "fp32"), ("bfloat16", "bf16")])
@pytest.mark.parametrize("mode", ["ACCURACY", "PERFORMANCE"])
def test_precision_and_execution_mode_are_read_back_as_asked_and_recorded(
    ir, reference, tmp_path, compute, precision, mode
):
    if compute == "bfloat16":
        skip_unless_bfloat16()
    properties_ = {"EXECUTION_MODE_HINT": mode}
    result = check(ir, reference, tmp_path, compute=compute, properties=properties_, limits=tolerance(precision))
    parity = result.notes["parity"]
    hint = {"float32": "f32", "bfloat16": "bf16"}[compute]
    assert parity["computes_in"] == compute
    assert parity["properties"] == {"INFERENCE_PRECISION_HINT": hint, **properties_}


def test_a_module_is_run_by_torch_compile_and_goes_on_as_it_is(tiny, reference, tmp_path):
    backend("openvino")
    result = check(replace(tiny, digest="d" * 64), reference, tmp_path)
    assert (result.live, result.digest) == (tiny.live, "d" * 64)
    parity = result.notes["parity"]
    assert (parity["runtime"], parity["computes_in"]) == ("torch_compile", "float32")
    assert [c["label"] for c in parity["cases"]] == ["example", "min", "odd", "max"]


def test_a_module_that_torch_compile_gives_other_answers_for_is_found(tiny, reference, tmp_path):
    backend("openvino")
    other = copy.deepcopy(tiny.live)
    other.head.bias[0] += 1
    assert "this module does not agree" in refused(replace(tiny, live=other), reference, tmp_path)


def test_a_module_that_torch_compile_hands_back_to_pytorch_is_not_passed(tmp_path):
    backend("openvino")
    net = module(Attention())  # its fast path is one operator that OpenVINO cannot compile
    reference = record(net, tmp_path / "reference", inputs=TOKENS, dims=BATCH_SEQ)
    message = refused(net, reference, tmp_path)
    assert "left the model to PyTorch, without a message" in message
    assert "every size between" not in message  # which is what a frozen dimension would be told with


def test_operators_that_torch_compile_leaves_to_pytorch_are_told(tmp_path):
    backend("openvino")
    net = module(Bessel())
    result = check(net, record(net, tmp_path / "reference", inputs=VECTOR), tmp_path)
    assert "special_bessel_j0" in result.notes["parity"]["properties"]["left_to_pytorch"]


def test_another_processor_is_another_key(tmp_path, monkeypatch):
    here, stage = world(tmp_path), Check("bfloat16", {}, [], tolerance("fp32"), False)
    before = stage.identity(here)
    monkeypatch.setattr(type(here), "processor", lambda self: {"name": "another"})
    assert stage.identity(here) != before
