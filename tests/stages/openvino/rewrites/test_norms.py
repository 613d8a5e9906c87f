"""openvino/rewrites/norms.py."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from harness import backend
from onnx import helper

from stages.openvino.rewrites import norms


@pytest.fixture(autouse=True)
def _openvino_is_there():
    backend("openvino")


@pytest.fixture
def graph(tmp_path):
    x, y = (helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["batch", 32]) for n in "xy")
    whole = helper.make_graph([helper.make_node("LpNormalization", ["x"], ["y"], axis=-1, p=2)], "g", [x], [y])
    onnx.save(helper.make_model(whole, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "g.onnx")
    return tmp_path / "g.onnx"


def off(model, length):
    """The largest error of normalised vectors, one of them zero."""
    import openvino

    x = np.random.default_rng(0).normal(size=(3, 32)) * [[length], [length], [0]]
    expected = np.divide(x, norm := np.linalg.norm(x, axis=1, keepdims=True), out=np.zeros_like(x), where=norm > 0)
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return float(np.abs(compiled([x.astype("f4")])[0] - expected).max())


@pytest.mark.parametrize("length", [1e-12, 1e-4, 1.0, 1e12])
def test_a_short_vector_is_normalised_as_a_long_one(graph, length):
    import openvino

    model = openvino.convert_model(graph)
    norms.without_epsilon(model, graph)
    assert off(model, length) < 1e-6
    assert [op.get_friendly_name() for op in model.get_ops() if op.get_type_name() == "NormalizeL2"] == ["y"]


def test_where_openvino_reads_it_right_this_can_go(graph):
    import openvino

    assert off(openvino.convert_model(graph), 1e-4) > 0.01


def test_a_norm_that_has_this_number_itself_keeps_it(graph):
    import openvino
    from openvino import opset13 as ops

    x = ops.parameter([3, 32], np.float32, name="x")
    own = openvino.Model([ops.normalize_l2(x, ops.constant([1]), norms.ADDED, "add")], [x])
    norms.without_epsilon(own, graph)
    (norm,) = (op for op in own.get_ops() if op.get_type_name() == "NormalizeL2")
    assert norm.get_attributes()["eps"] == norms.ADDED
