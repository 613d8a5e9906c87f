"""onnx/cast_fp16.py."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from conversions import edited
from harness import contents, run_stage, tolerance
from onnx import TensorProto, helper, numpy_helper

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from stages.checking.check import Check
from stages.formats.ignored import Ignored
from stages.onnx.cast_fp16 import CastFp16
from stages.onnx.format import ONNX


def cast(graph, folder, keep=()):
    return run_stage(CastFp16(Ignored([], [], list(keep)), []), graph, folder)


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
        Check("float16", {}, [], tolerance("fp16"), False),
        {"artifact": half, "reference": reference},
        tmp_path / "check",
    )


def test_the_opset_and_provenance_stay(graph, half):
    before, after = onnx.load(graph.file), onnx.load(half.file)
    assert [(o.domain, o.version) for o in after.opset_import] == [(o.domain, o.version) for o in before.opset_import]
    assert "UNTRAINED" in {p.key: p.value for p in after.metadata_props}["drydock.weights"]


def test_operators_can_be_left_in_float32(graph, tmp_path):
    dtypes = types(onnx.load(cast(graph, tmp_path / "out", keep=["Gemm"]).file))
    assert {n for n, t in dtypes.items() if t == TensorProto.FLOAT} == {"head.weight", "head.bias"}


def test_operators_whose_values_outgrow_it_stay_in_float32_and_are_named(tmp_path):
    nodes = [("Exp", ["x"], "large"), ("Log", ["large"], "y")]
    graph = graph_of(nodes, {}, tmp_path / "graph")
    half = run_stage(CastFp16(Ignored([], [], []), ["Exp", "Log", "ReduceSum"]), graph, tmp_path / "wide")
    assert half.notes["says"].endswith("; for their range, in float32: large, y")
    np.testing.assert_allclose(answers(half, [1, 5, 12, 20]), [1, 5, 12, 20], rtol=1e-3)  # e^12 is more than 65504


def test_a_cast_that_casts_nothing_is_refused(graph, tmp_path):
    with pytest.raises(StageError, match="none of the 4 floating-point weights became float16"):
        cast(graph, tmp_path / "out", keep=["Conv", "Gemm"])


def test_a_graph_without_weights_can_be_cast(graph, tmp_path):
    def only_relu(model):
        del model.graph.node[:], model.graph.initializer[:]
        model.graph.node.append(onnx.helper.make_node("Relu", ["input"], ["logits"]))
        model.graph.output[0].type.CopyFrom(model.graph.input[0].type)

    half = cast(edited(graph, tmp_path / "edited", only_relu), tmp_path / "out")
    assert half.notes["says"] == "0 of 0 floating-point weights in float16"


def test_two_runs_are_the_same_bytes(graph, half, tmp_path):
    assert contents(cast(graph, tmp_path / "again").folder) == contents(half.folder)


def test_the_graph_is_a_valid_one(half):
    onnx.checker.check_model(half.file, full_check=True)


def answers(artifact, x):
    """y, by onnxruntime's own session."""
    return onnxruntime.InferenceSession(artifact.file).run(["y"], {"x": np.float32([x])})[0][0]


def graph_of(nodes, weights, folder):
    """x [1, 4] to y, by nodes (type, inputs, output), each named for its output; and to z, by a weight to be cast."""
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xyz"]
    every = [*nodes, ("Mul", ["x", "one"], "z")]
    operations = [
        helper.make_node(kind, inputs, [result], name=result, **dict(*attributes))
        for kind, inputs, result, *attributes in every
    ]
    initialisers = [numpy_helper.from_array(np.float32(v), n) for n, v in {**weights, "one": [1.0]}.items()]
    graph = helper.make_graph(operations, "graph", ports[:1], ports[1:], initialisers)
    folder.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    return Artifact(ONNX, folder)


def names(*ignored_names):
    return CastFp16(Ignored(list(ignored_names), [], []), [])


UP, DOWN = 3e6, 1 / 3e6


def test_what_passes_between_operations_that_are_left_alone_stays_in_float32(tmp_path):
    nodes = [("Mul", ["x", "up"], "large"), ("Relu", ["large"], "kept"), ("Mul", ["kept", "down"], "y")]
    graph = graph_of(nodes, {"up": [UP], "down": [DOWN]}, tmp_path / "graph")
    half = run_stage(names("large", "kept", "y"), graph, tmp_path / "made")
    np.testing.assert_allclose(answers(half, [1, 2, 3, 4]), [1, 2, 3, 4], rtol=1e-6)
    assert [n.op_type for n in onnx.load(half.file).graph.node].count("Cast") == 2  # of x and z alone


def test_inputs_and_outputs_of_operations_that_are_left_alone_are_not_rounded(tmp_path):
    graph = graph_of([("Mul", ["x", "w"], "y")], {"w": [1.0]}, tmp_path / "graph")
    half = run_stage(names("y"), graph, tmp_path / "made")
    numbers = np.float32([0.1, 1.3, 2.7, 1e5])  # none of them a float16
    np.testing.assert_array_equal(answers(half, numbers), numbers)


def test_two_operations_that_are_left_alone_can_take_the_same_value(tmp_path):
    nodes = [("Mul", ["x", "w"], "both"), ("Relu", ["both"], "left"), ("Sigmoid", ["both"], "right")]
    graph = graph_of([*nodes, ("Add", ["left", "right"], "y")], {"w": [1.0]}, tmp_path / "graph")
    half = run_stage(names("left", "right"), graph, tmp_path / "made")
    onnx.checker.check_model(half.file, full_check=True)
    np.testing.assert_allclose(answers(half, [0, 1, 2, -1]), [0.5, 1.731, 2.881, 0.269], rtol=1e-3)


@pytest.mark.parametrize("alone", [True, False], ids=["in a node", "beside others that have it, too"])
def test_weights_of_operations_that_are_left_alone_are_not_rounded(tmp_path, alone):
    nodes = [("Mul", ["x", "up"], "large"), ("Mul", ["large", "down"], "small")]
    weights = {"up": [UP], "down": [DOWN]}
    if alone:
        down = numpy_helper.from_array(np.float32([weights.pop("down")]))
        nodes = [("Constant", [], "down", {"value": down}), *nodes, ("Identity", ["small"], "y")]
    else:
        nodes += [("Mul", ["x", "down"], "tiny"), ("Add", ["small", "tiny"], "y")]
    half = run_stage(names("large", "small"), graph_of(nodes, weights, tmp_path / "graph"), tmp_path / "made")
    np.testing.assert_allclose(answers(half, [1, 2, 3, 4]), [1, 2, 3, 4], rtol=1e-3)  # DOWN is 7 % more in float16


def test_nodes_without_names_are_called_by_their_first_output(graph, tmp_path):
    def unname(model):
        for node in model.graph.node:
            node.name = ""

    unnamed = edited(graph, tmp_path / "unnamed", unname)
    head = onnx.load(unnamed.file).graph.node[-1].output[0]
    dtypes = types(onnx.load(run_stage(names(head), unnamed, tmp_path / "out").file))
    assert {n for n, t in dtypes.items() if t == TensorProto.FLOAT} == {"head.weight", "head.bias"}
