"""A stage of a user's own whose compiler crashes on graphs of one opset."""

import os
import signal
from dataclasses import dataclass
from typing import ClassVar

from pipeline.stage import Stage
from stages.onnx.format import ONNX


@dataclass(frozen=True)
class Brittle(Stage):
    consumes: ClassVar = {"graph": frozenset({ONNX})}
    produces: ClassVar = "graph"
    requires: ClassVar = ("onnx",)
    isolable: ClassVar = True

    def run(self, inputs, folder):
        import onnx

        if onnx.load(inputs["graph"].file).opset_import[0].version == 19:
            os.kill(os.getpid(), signal.SIGSEGV)
        return inputs["graph"].noting(says="not this time")
