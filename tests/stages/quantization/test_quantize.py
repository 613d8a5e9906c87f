"""quantization/quantize.py: a trained network in int8, of either format."""

from __future__ import annotations

from dataclasses import replace

import onnxruntime
import pytest
from conversions import export, ir, ports, provenance, quantized
from harness import BATCH_SEQ, TOKENS, contents, reference_in, run_stage, tolerance, world
from nets import Attention
from onnx import numpy_helper

from pipeline.errors import StageError
from stages.checking.audit import Audit
from stages.checking.check import Check
from stages.checking.evaluate import Evaluate
from stages.formats import graphs
from stages.formats.ignored import Ignored
from stages.onnx import file as onnx_file
from stages.onnx.format import ONNX
from stages.openvino.format import OPENVINO
from stages.quantization.quantize import Quantize
from stages.samples.draw_samples import DrawSamples

AS_IT_SHIPS = Quantize(None, None, "ANY", True, False, Ignored([], [], []), [], None)


@pytest.fixture
def int8(digits, kind):
    return digits.int8(kind)


def checked(artifact, reference, folder):
    inputs = {"artifact": artifact, "reference": reference}
    return run_stage(Check("float32", {}, [], tolerance("int8"), False), inputs, folder)


def test_its_answers_are_within_the_tolerance_that_ships(int8, digits, tmp_path):
    checked(int8, digits.reference, tmp_path / "check")


def test_it_reads_as_many_digits_as_the_network_it_was_made_of_but_for_one_in_a_hundred(int8, digits, tmp_path):
    gate = Evaluate("top1", 0.01, "float32", {}, [], False)
    settings_used = run_stage(gate, {"artifact": int8, "answers": digits.answers}, tmp_path / "evaluate").notes[
        "evaluation"
    ]
    assert settings_used["samples"] == 597
    assert settings_used["value"] > 0.97


def test_its_weights_and_its_operations_are_8_bit(int8, tmp_path):
    int8_graph = run_stage(Audit({"int8": 0.99}, {"int8": 1.0}, []), int8, tmp_path / "audit")
    assert int8_graph.notes["audit"] == {"weights": {"int8": 38160, "float32": 122}, "operations": {"int8": 4}}


def test_names_types_and_the_dynamic_batch_stay(int8, digits, kind):
    assert ports(int8) == ports(digits.graph(kind))
    assert any("batch" in shape or "1..64" in shape for shape in ports(int8).values())


@pytest.mark.parametrize("opset", [13, 20])
def test_at_either_end_of_the_opsets_it_stays_and_onnxruntime_runs_the_graph(digits, tmp_path, opset):
    int8_graph = quantized(digits.onnx(opset), digits.samples, tmp_path / "int8")
    assert onnx_file.opset(onnx_file.read(int8_graph.file)) == opset
    onnxruntime.InferenceSession(int8_graph.file)  # optimises it as it does by default
    checked(int8_graph, digits.reference, tmp_path / "check")


@pytest.mark.parametrize(("opset", "command"), [(12, "opset=13"), (21, "opset=20"), (26, "opset=20")])
def test_an_opset_that_it_cannot_be_said_or_run_at_is_refused_before_any_work_and_for_a_file(
    digits, tmp_path, opset, command
):
    (problem,) = replace(AS_IT_SHIPS, graph_opset=opset).problems()
    assert problem.what.startswith(f"int8 at opset {opset} cannot be")
    assert (problem.allowed, problem.command) == ("opset 13 to 20", command)
    with pytest.raises(StageError) as caught:
        quantized(digits.onnx(opset), digits.samples, tmp_path / "int8")
    assert caught.value.problems == (problem,)


def test_two_runs_are_the_same_bytes_whatever_ran_in_between(int8, digits, kind, tmp_path):
    # OpenVINO names nodes by a counter of the process.
    ir(digits.traced, tmp_path / "another")
    quantized(digits.graph(kind), digits.spoiled, tmp_path / "spoiled")
    again = quantized(digits.graph(kind), digits.samples, tmp_path / "again")
    assert contents(again.folder) == contents(int8.folder)


def test_facts_tell_every_setting_and_what_it_was_calibrated_on(digits, kind, tmp_path):
    settings = {"preset": "mixed", "model_type": "transformer", "target_device": "CPU", "fast_bias_correction": False}
    settings["symmetric"] = True
    ignored = Ignored([], [r".*(Gemm|MatMul).*"], [])
    int8_graph = quantized(digits.graph(kind), digits.samples, tmp_path / "int8", ignored=ignored, **settings)
    assert int8_graph.facts["quantization"] == {
        "weights": "int8",
        "settings": settings,
        "samples": {"from": "dataset", "count": 300, "seed": 0, "digest": "d" * 64},
        "taken": 300,
        "says": "int8, calibrated on 300 samples: dataset",
    }
    assert int8_graph.facts["ignored"] == {"names": [], "patterns": [r".*(Gemm|MatMul).*"], "types": []}
    assert int8_graph.notes["says"].endswith("; 2 operations left alone")


def test_provenance_is_in_the_file(int8, digits):
    record = provenance(int8)
    assert {name: record[name] for name in ("quantization", "ignored")} == {
        name: int8.facts[name] for name in ("quantization", "ignored")
    }
    assert record["weights"] == digits.module.facts["weights"]  # of the file before, and still there


SCHEMES = [
    (ONNX, {"preset": "mixed"}),
    pytest.param(ONNX, {"model_type": "transformer"}, marks=pytest.mark.slow),
    pytest.param(OPENVINO, {"preset": "mixed"}, marks=pytest.mark.slow),
    (OPENVINO, {"model_type": "transformer"}),
    pytest.param(OPENVINO, {"fast_bias_correction": False}, marks=pytest.mark.slow),
    pytest.param(OPENVINO, {"target_device": "CPU_SPR"}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("kind", "settings"), SCHEMES, ids=str)
def test_another_scheme_is_another_graph(attention, tmp_path, kind, settings):
    graph, samples = attention[kind], attention["samples"]
    both = [quantized(graph, samples, tmp_path / str(len(how)), **how) for how in ({}, settings)]
    assert _ranges(both[0]) != _ranges(both[1])


@pytest.mark.parametrize("settings", [{}, {"preset": "mixed", "model_type": "transformer"}], ids=str)
def test_symmetric_activations_are_signed_numbers_and_a_scale_alone_whatever_the_preset(digits, tmp_path, settings):
    int8_graph = quantized(digits.onnx(), digits.samples, tmp_path / "int8", symmetric=True, **settings)
    model = onnx_file.read(int8_graph.file)
    tensors = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    points = [tensors[n.input[2]] for n in model.graph.node if n.op_type.endswith("uantizeLinear")]
    assert {(p.dtype.name, bool(p.any())) for p in points} == {("int8", False)}
    held_to = {"artifact": int8_graph, "reference": digits.reference}
    run_stage(Check("float32", {}, [], tolerance("int8"), False), held_to, tmp_path / "check")


@pytest.fixture(scope="module")
def attention(tmp_path_factory):
    """An encoder layer, whose activations are of both signs."""
    folder = tmp_path_factory.mktemp("attention")
    graph = export("trace", Attention(), folder, inputs=TOKENS, dims=BATCH_SEQ)
    drawn = run_stage(DrawSamples({"source": "random"}, 32, None, 0), reference_in(folder), folder / "samples")
    return {ONNX: graph, OPENVINO: ir(graph, folder / "ir"), "samples": drawn}


def test_a_device_that_nncf_has_no_scheme_of_onnx_graphs_for_is_told_with_the_others(digits, tmp_path):
    with pytest.raises(StageError, match="target_device is CPU_SPR, and NNCF has no scheme") as caught:
        quantized(digits.onnx(), digits.samples, tmp_path / "int8", target_device="CPU_SPR")
    assert caught.value.problems[0].allowed == "ANY, CPU, GPU, NPU"


def _ranges(artifact):
    """The file without its facts, which tell the settings themselves."""
    if artifact.kind == OPENVINO:
        return artifact.file.with_suffix(".bin").read_bytes()
    model = onnx_file.read(artifact.file)
    onnx_file.strip(model)
    return model.SerializeToString()


def test_other_samples_are_other_ranges(int8, digits, kind, tmp_path):
    assert _ranges(quantized(digits.graph(kind), digits.spoiled, tmp_path / "spoiled")) != _ranges(int8)


WRONG = [
    ({"preset": "mixd"}, "preset is mixd, did you mean 'mixed'?", "performance, mixed, null"),
    ({"model_type": "transformers"}, "model_type is transformers, did you mean 'transformer'?", "transformer, null"),
    ({"target_device": "cpu"}, "target_device is cpu", "ANY, CPU, CPU_SPR, GPU, NPU"),
    ({"extensions": ["bad"]}, "extensions names 'bad'", "a library that ends in"),
    ({"ignored": Ignored([], ["("], [])}, "ignored.patterns has '('", "what Python's re takes"),
]


@pytest.mark.parametrize(("setting", "says", "allowed"), WRONG, ids=[says for _, says, _ in WRONG])
def test_wrong_settings_are_told_before_any_work(setting, says, allowed):
    (problem,) = replace(AS_IT_SHIPS, **setting).problems()
    assert problem.what.startswith(says)
    assert problem.allowed.startswith(allowed)


def test_the_opset_that_a_graph_will_have_is_no_part_of_the_key_and_other_settings_are(tmp_path):
    here = world(tmp_path)
    assert replace(AS_IT_SHIPS, graph_opset=18).identity(here) == AS_IT_SHIPS.identity(here)
    assert replace(AS_IT_SHIPS, preset="mixed").identity(here) != AS_IT_SHIPS.identity(here)


def test_it_requires_what_its_format_takes(kind):
    needed = {ONNX: {"onnx", "onnxruntime"}, OPENVINO: {"openvino"}}
    assert {*AS_IT_SHIPS.modules({"graph": kind})} == {"nncf", "numpy", "safetensors"} | needed[kind]


def test_the_operations_of_the_graph_keep_their_names(int8, digits, kind):
    before, after = graphs.read(digits.graph(kind)), graphs.read(int8)
    assert {n for n, node in before.nodes.items() if node.type in graphs.WEIGHTED} <= after.nodes.keys()
