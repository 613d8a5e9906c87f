"""onnx/types.py: the types that a graph stores and computes in."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

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
