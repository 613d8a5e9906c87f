"""onnx/sigmoids.py: the error of onnxruntime's Sigmoid, where it decides outputs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from pipeline.artifact import Artifact
from stages.onnx import model as onnx_model
from stages.onnx.format import ONNX

WEIGHTS = "<float c = {-20}>"
BRANCHES = (
    "n = ReduceSum<keepdims=0>(x) b = Greater(n, c) "
    "y = If(b) <then_branch = t () => (float[?,4] p) { p = Sigmoid(s) }, "
    "else_branch = e () => (float[?,4] q) { q = Identity(s) }>"
)


def exact(does, folder):
    opset = '<ir_version: 8, opset_import: ["" : 13]>'
    graph = f"{opset} g (float[n,4] x) => (float[?,4] y) {WEIGHTS} {{ s = Add(x, c) {does} }}"
    onnx.save(onnx.parser.parse_model(graph), folder / ONNX.file)
    return onnx_model.open_exact(Artifact(ONNX, folder))


@pytest.mark.parametrize("does", ["y = Sigmoid(s)", "p = Sigmoid(s) y = Identity(p)", BRANCHES])
def test_an_output_that_a_sigmoid_decides_is_known_better_than_onnxruntime_has_it(tmp_path, does):
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
    expected = 1 / (1 + np.exp(20 - x.astype("f8")))
    ask = exact(does, tmp_path)
    assert ask is not None
    np.testing.assert_allclose(ask({"x": x})["y"], expected, rtol=1e-5)
    plain = onnx_model.session.open_session(Artifact(ONNX, tmp_path), "float32")({"x": x})["y"]
    assert np.abs(plain - expected).max() > 0.1 * expected.max(), "onnxruntime has become as good: this room can go"


def test_inside_a_network_it_makes_no_difference(tmp_path):
    assert exact("p = Sigmoid(s) m = Mul(p, s) t = Tanh(m) y = Relu(t)", tmp_path) is None
