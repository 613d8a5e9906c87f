"""onnx/exporting/padding.py."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import parser

from stages.onnx.exporting import padding

GRAPH = """
<ir_version: 9, opset_import: ["": 18]>
pooled (float[1, 1, 2, 2] x) => (float[1, 1, 2, 2] y)
<int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}> {
    padded = Pad(x, pads)
    y = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(padded)
}
"""


def test_zeros_that_are_padded_are_larger_than_what_is_negative():
    model = parser.parse_model(GRAPH)
    padding.keep_apart(model)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (output,) = session.run(None, {"x": np.full((1, 1, 2, 2), -1, "float32")})
    assert not output.any()
