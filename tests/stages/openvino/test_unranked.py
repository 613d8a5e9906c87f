"""openvino/unranked.py: a dynamic size that decides the rank of a value."""

from __future__ import annotations

import onnx
import pytest
from conversions import ir
from harness import backend, record, run_stage, world

from pipeline.errors import StageError
from stages.interface.interface import Dim, Input
from stages.loading.open_onnx import OpenOnnx

# What torch makes of x.squeeze(2) and a convolution.
SQUEEZE = """<ir_version: 8, opset_import: ["" : 13]>
g (float[n,3,k,8] x) => (float[?,2,?] y) <float[2,3,1] w = {1, 2, 3, 4, 5, 6}, int64[1] two = {2}, int64[1] one = {1}> {
  d = Shape(x) i = Gather(d, two) c = Equal(i, one)
  s = If(c) <then_branch = t () => (float[?,?,?] p) { p = Squeeze(x, two) },
             else_branch = e () => (float[?,?,?,?] q) { q = Identity(x) }>
  y = Conv(s, w)
}"""


def opened(folder, name, inputs, dims):
    onnx.save(onnx.parser.parse_model(SQUEEZE), folder / "net.onnx")
    stage = OpenOnnx(str(folder / "net.onnx"), None, inputs, dims).settle(world(folder))
    return run_stage(stage, {}, folder / name)


def test_the_number_that_openvino_needs_is_what_the_message_says(tmp_path):
    backend("openvino")
    dims = {"n": Dim(1, 2, 4), "k": Dim(1, 1, 2)}
    with pytest.raises(StageError) as refused:
        ir(opened(tmp_path, "open", None, dims), tmp_path / "refused")
    (problem,) = refused.value.problems
    assert problem.command == "a number instead: 'model.inputs={x: {shape: [n, 3, 1, 8]}}' '~model.dims.k'"
    fixed = opened(tmp_path, "fixed", {"x": Input(["n", 3, 1, 8])}, {"n": dims["n"]})
    record(fixed, tmp_path / "reference", inputs=None)
    assert ir(fixed, tmp_path / "ir").notes["says"] == "x [1..4,3,1,8]"
