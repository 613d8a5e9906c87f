"""stages/cast_fp16.py."""

from __future__ import annotations

import onnx
import pytest
from harness import contents, edited, run_stage, tolerance
from onnx import TensorProto

from pipeline.errors import StageError
from stages.cast_fp16 import CastFp16
from stages.check import Check


def cast(graph, folder, keep=()):
    return run_stage(CastFp16(list(keep)), graph, folder)


@pytest.fixture
def half(graph, tmp_path):
    return cast(graph, tmp_path / "half")


def types(model):
    return {i.name: i.data_type for i in model.graph.initializer if i.data_type != TensorProto.INT64}


def test_every_weight_is_stored_in_float16(half):
    assert set(types(onnx.load(half.file)).values()) == {TensorProto.FLOAT16}
    assert half.facts["storage"] == "float16"
    assert half.notes["says"] == "4 of 4 floating-point weights in float16"


def test_inputs_and_outputs_stay_float32_and_keep_their_names(graph, half):
    before, after = onnx.load(graph.file), onnx.load(half.file)
    for a, b in ((before.graph.input, after.graph.input), (before.graph.output, after.graph.output)):
        assert [(p.name, p.type) for p in a] == [(p.name, p.type) for p in b]


def test_its_answers_are_within_the_tolerance_that_ships(half, reference, tmp_path):
    run_stage(
        Check("float16", {}, [], tolerance("fp16")), {"artifact": half, "reference": reference}, tmp_path / "check"
    )


def test_the_opset_and_provenance_stay(graph, half):
    before, after = onnx.load(graph.file), onnx.load(half.file)
    assert [(o.domain, o.version) for o in after.opset_import] == [(o.domain, o.version) for o in before.opset_import]
    assert "UNTRAINED" in {p.key: p.value for p in after.metadata_props}["drydock.weights"]


def test_operators_can_be_left_in_float32(graph, tmp_path):
    kept = types(onnx.load(cast(graph, tmp_path / "out", keep=["Gemm"]).file))
    assert {n for n, t in kept.items() if t == TensorProto.FLOAT} == {"head.weight", "head.bias"}


def test_a_cast_that_casts_nothing_is_refused(graph, tmp_path):
    with pytest.raises(StageError, match="none of the 4 floating-point weights became float16"):
        cast(graph, tmp_path / "out", keep=["Conv", "Gemm"])


def test_a_graph_without_weights_can_be_cast(graph, tmp_path):
    def only_relu(model):
        del model.graph.node[:], model.graph.initializer[:]
        model.graph.node.append(onnx.helper.make_node("Relu", ["input"], ["logits"]))
        model.graph.output[0].type.CopyFrom(model.graph.input[0].type)

    made = cast(edited(graph, tmp_path / "edited", only_relu), tmp_path / "out")
    assert made.notes["says"] == "0 of 0 floating-point weights in float16"


def test_two_runs_are_the_same_bytes(graph, half, tmp_path):
    assert contents(cast(graph, tmp_path / "again").folder) == contents(half.folder)
