"""onnx/exporting/names.py."""

from __future__ import annotations

import numpy as np
import onnx
from conversions import export, ports
from harness import backend
from nets import FixedBatch

from stages.formats import session
from stages.interface.interface import Input


class Constant(FixedBatch):
    """Ignores one of its inputs, and returns a constant besides a function of the other."""

    def forward(self, x, unused):
        return self.head(x), self.head.weight * 2


def test_inputs_and_outputs_that_the_exporter_loses_are_restored(tmp_path):
    backend("onnxruntime")
    inputs = {"x": Input(["batch", 4], fill="normal"), "unused": Input(["batch", 3], dtype="int64", fill="ones")}
    graph = export("trace", Constant(), tmp_path, opset=17, inputs=inputs, outputs=["scores", "weights"])
    onnx.checker.check_model(onnx.load(graph.file), full_check=True)
    float32, int64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    assert ports(graph) == {
        "x": f"{float32}['batch', 4]",
        "unused": f"{int64}['batch', 3]",
        "scores": f"{float32}['batch', 4]",
        "weights": f"{float32}[4, 4]",
    }
    inputs_of_5 = {"x": np.ones((5, 4), "float32"), "unused": np.ones((5, 3), "int64")}
    assert [v.shape for v in session.open_session(graph, "float32")(inputs_of_5).values()] == [(5, 4), (4, 4)]
