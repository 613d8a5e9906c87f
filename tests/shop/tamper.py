"""A stage of a user's own that brings an error in: one weight of the graph is changed."""

from dataclasses import dataclass
from typing import ClassVar

from pipeline.artifact import Artifact
from pipeline.stage import Stage
from stages.onnx.format import ONNX


@dataclass(frozen=True)
class Tamper(Stage):
    consumes: ClassVar = {"graph": frozenset({ONNX})}
    produces: ClassVar = ONNX
    requires: ClassVar = ("onnx", "numpy")

    def run(self, inputs, folder):
        import onnx

        model = onnx.load(inputs["graph"].file)
        weight = max(model.graph.initializer, key=lambda i: len(i.dims))
        values = onnx.numpy_helper.to_array(weight).copy()
        values.flat[0] += 0.1
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        onnx.save(model, folder / "model.onnx")
        return Artifact(ONNX, folder)
