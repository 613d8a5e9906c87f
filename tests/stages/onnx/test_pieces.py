"""onnx/pieces.py: each node of a graph as its own model."""

import numpy as np
import onnx
import onnxruntime
from conversions import export
from harness import VECTOR
from nets import GraphBranch
from onnx import TensorProto, helper, numpy_helper

from stages.onnx import pieces


def test_each_kind_of_node_is_a_model_that_runs(tmp_path):
    graph = export("export", GraphBranch(), tmp_path / "graph", inputs=VECTOR)
    (tmp_path / "pieces").mkdir()
    pieces_by_name = dict(pieces.split(graph.file, tmp_path / "pieces"))
    for path in pieces_by_name.values():
        onnx.checker.check_model(path)
        onnxruntime.InferenceSession(path)
    assert any(name.startswith("If ") for name in pieces_by_name)


def test_alike_nodes_are_one_piece_and_constants_stay_what_they_are(tmp_path):
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy"]
    two = numpy_helper.from_array(np.array([2.0], np.float32), "two")
    nodes = [helper.make_node("Mul", [i, "two"], [o], o) for i, o in ("xa", "ab", "by")]
    path = tmp_path / "model.onnx"
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [two])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    ((name, piece),) = pieces.split(path, tmp_path)
    assert name == "Mul 'a'"
    (answer,) = onnxruntime.InferenceSession(piece).run(None, {"x": np.ones((1, 4), np.float32)})
    assert answer.tolist() == [[2, 2, 2, 2]]
