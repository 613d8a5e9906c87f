"""ONNX, executed by onnxruntime on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact

if TYPE_CHECKING:
    from stages.runtimes.session import Arrays

REQUIRES = ("onnxruntime", "numpy")


class OnnxSession:
    """An onnxruntime session. It computes in the types that the graph itself has, whatever was asked."""

    def __init__(self, artifact: Artifact, compute: str) -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        self._session = onnxruntime.InferenceSession(str(artifact.file), providers=["CPUExecutionProvider"])
        self._outputs = [o.name for o in self._session.get_outputs()]
        # The CPU provider has no reduced-precision mode: types are the graph's, cast or not.
        self.computes_in = compute

    def __call__(self, inputs: Arrays) -> Arrays:
        returned: list[Any] = self._session.run(self._outputs, dict(inputs))
        return dict(zip(self._outputs, returned, strict=True))


def open_session(artifact: Artifact, compute: str) -> OnnxSession:
    """Loads a graph. Raises what onnxruntime raises."""
    return OnnxSession(artifact, compute)
