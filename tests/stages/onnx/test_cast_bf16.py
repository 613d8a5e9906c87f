"""onnx/cast_bf16.py, and how its graphs are run: stages/onnx/bfloat16.py."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from conversions import edited, export
from harness import BATCH_SEQ, NOTHING_IGNORED, TOKENS, contents, reference_in, run_stage, tolerance
from nets import Attention, TinyConv
from onnx import TensorProto, helper, numpy_helper

from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed, StageError
from stages.checking.check import Check
from stages.formats.ignored import Ignored
from stages.formats.session import open_session
from stages.onnx.cast_bf16 import CastBf16
from stages.onnx.format import ONNX


def cast(graph, folder, *keep):
    return run_stage(CastBf16(Ignored([], [], list(keep))), graph, folder)


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """A convolutional network's graph at the first opset that has convolutions in bfloat16, and its reference."""
    folder = tmp_path_factory.mktemp("exact")
    return export("export", TinyConv(), folder, opset=22, outputs=["logits"]), reference_in(folder)


@pytest.fixture(scope="module")
def narrow(exact, tmp_path_factory):
    return cast(exact[0], tmp_path_factory.mktemp("narrow") / "bf16")


def types(artifact):
    return {i.name: i.data_type for i in onnx.load(artifact.file).graph.initializer if i.data_type != TensorProto.INT64}


def checked(artifact, reference, folder, limits="bf16"):
    check = Check("bfloat16", {}, [], tolerance(limits), False)
    return run_stage(check, {"artifact": artifact, "reference": reference}, folder)


def test_every_weight_is_stored_in_bfloat16_and_the_ports_stay(exact, narrow):
    assert set(types(narrow).values()) == {TensorProto.BFLOAT16}
    assert narrow.facts["storage"] == "bfloat16"
    before, after = (onnx.load(a.file).graph for a in (exact[0], narrow))
    assert list(before.input) == list(after.input)
    assert list(before.output) == list(after.output)


def test_its_answers_are_within_the_tolerance_that_ships_and_differ_from_those_of_float32(exact, narrow, tmp_path):
    parity = checked(narrow, exact[1], tmp_path / "check").notes["parity"]
    assert (parity["computes_in"], parity["properties"].keys()) == ("bfloat16", {"bfloat16"})
    with pytest.raises(CheckFailed, match="max_rel"):
        checked(narrow, exact[1], tmp_path / "again", limits="fp32")


@pytest.mark.slow
def test_a_transformers_layer_is_in_bfloat16_at_an_older_opset(tmp_path):
    graph = export("trace", Attention(), tmp_path, inputs=TOKENS, dims=BATCH_SEQ)
    narrow = cast(graph, tmp_path / "bf16")
    checked(narrow, reference_in(tmp_path), tmp_path / "check")
    assert TensorProto.FLOAT not in set(types(narrow).values())


def test_a_convolution_that_onnx_has_no_bfloat16_for_is_told_with_the_opset_that_has_it(graph, tmp_path):
    with pytest.raises(StageError, match=r"ONNX has no Conv \(1×\) in bfloat16 at opset 18") as caught:
        cast(graph, tmp_path / "bf16")
    assert "opset=22" in caught.value.problems[0].command
    assert types(cast(graph, tmp_path / "left", "Conv"))["conv.weight"] == TensorProto.FLOAT


def test_operators_can_be_left_in_float32(exact, tmp_path):
    dtypes = types(cast(exact[0], tmp_path / "out", "Gemm"))
    assert {n for n, t in dtypes.items() if t == TensorProto.FLOAT} == {"head.weight", "head.bias"}


def graph_of(nodes, weights, folder):
    """x [4] to y, by nodes (type, inputs, output)."""
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "xy"]
    initialisers = [numpy_helper.from_array(np.float32(v), n) for n, v in weights.items()]
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [result], name=result) for kind, inputs, result in nodes],
        "graph",
        ports[:1],
        ports[1:],
        initialisers,
    )
    folder.mkdir()
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), folder / "model.onnx"
    )
    return Artifact(ONNX, folder)


def test_weights_keep_the_range_of_float32_and_every_result_is_rounded(tmp_path):
    nodes = [("Mul", ["x", "large"], "up"), ("Mul", ["up", "small"], "y")]
    narrow = cast(graph_of(nodes, {"large": [1e30], "small": [1e-30]}, tmp_path / "graph"), tmp_path / "bf16")
    answer = open_session(narrow, "bfloat16")({"x": np.float32([1, 1.003, 2, 3])})["y"]
    np.testing.assert_allclose(answer, [1, 1, 2, 3], rtol=2**-7)
    assert answer[0] == answer[1]  # 1.003 is 1 in bfloat16
    assert (answer.view(np.uint32) & 0xFFFF == 0).all(), "a number of bfloat16 has 16 bits"


def test_what_onnx_has_no_bfloat16_for_stays_and_is_told(tmp_path):
    nodes = [("Mul", ["x", "w"], "m"), ("Einsum", ["m", "m"], "y")]
    graph = edited(
        graph_of(nodes, {"w": [1.0]}, tmp_path / "graph"),
        tmp_path / "equation",
        lambda m: m.graph.node[1].attribute.append(helper.make_attribute("equation", "i,i->i")),
    )
    narrow = cast(graph, tmp_path / "bf16")
    assert narrow.notes["says"].endswith("; ONNX has no Einsum (1×) in it")
    assert open_session(narrow, "bfloat16")({"x": np.float32([1, 2, 3, 4])})["y"].tolist() == [1, 4, 9, 16]


def test_a_graph_that_has_float16_already_is_refused(exact, tmp_path):
    def halve(model):
        model.graph.initializer.append(numpy_helper.from_array(np.float16([1]), "half"))

    with pytest.raises(StageError, match="has weights in float16 already"):
        cast(edited(exact[0], tmp_path / "half", halve), tmp_path / "bf16")


def test_it_is_not_timed_where_there_are_no_kernels_for_it(narrow):
    with pytest.raises(StageError, match="no kernels for bfloat16"):
        open_session(narrow, "bfloat16", threads=1)


def test_two_runs_are_the_same_bytes(exact, narrow, tmp_path):
    assert contents(run_stage(CastBf16(NOTHING_IGNORED), exact[0], tmp_path / "again").folder) == contents(
        narrow.folder
    )
