"""onnx/types.py: the types that a graph stores and computes in."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stages.onnx import file as onnx_file
from stages.onnx import types


def test_a_weight_counts_though_its_numbers_are_left_aside(tmp_path):
    side = 1024
    assert side * side * 4 > types.LARGE
    weight = numpy_helper.from_array(np.ones((side, side), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight],
    )
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    built = types.read(tmp_path / "model.onnx", [])
    assert (built.weights(), built.operations()) == ({"float32": side * side}, {"float32": 1})
    assert built.nodes["y"].dtype == "float32"


@pytest.mark.parametrize("place", ["in the graph", "beside it, with a second name elsewhere"])
def test_a_matrix_is_found_wherever_its_numbers_are(tmp_path, monkeypatch, place):
    """A simplified graph shares the file of its weights with the graph before it, by a hard link."""
    values = np.arange(300, dtype=np.float32).reshape(20, 15)
    graph = helper.make_graph(
        [], "g", [], [], [numpy_helper.from_array(v, n) for n, v in {"v": values[0], "w": values}.items()]
    )
    if place != "in the graph":
        monkeypatch.setattr(onnx_file, "LARGEST_PROTOBUF", 0)
        monkeypatch.setattr(onnx_file, "SMALLEST_EXTERNAL", 1)
    path = onnx_file.write(helper.make_model(graph), tmp_path)
    for name in onnx_file.files_beside(onnx_file.read(path, weights=False)):
        (tmp_path / "elsewhere").hardlink_to(tmp_path / name)
    assert [m.tolist() for m in types.matrices(path, [], {(20, 15)})] == [values.tolist()]
