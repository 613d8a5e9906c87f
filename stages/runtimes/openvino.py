"""OpenVINO IR, executed by OpenVINO's CPU plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.artifact import Artifact
from stages import _openvino

if TYPE_CHECKING:
    from stages.runtimes.session import Arrays

REQUIRES = ("openvino", "numpy")
HINTS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


class OpenvinoSession:
    """A compiled model with the precision of its computation pinned.

    On CPUs with AVX512_BF16 or AMX the plugin computes in bfloat16 unless it is told otherwise at compile time.
    """

    def __init__(self, artifact: Artifact, compute: str) -> None:
        openvino = _openvino.quiet()
        core = openvino.Core()
        self._model = core.compile_model(artifact.file, "CPU", {"INFERENCE_PRECISION_HINT": HINTS[compute]})
        hint = self._model.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.computes_in = {v: k for k, v in HINTS.items()}.get(hint, hint)

    def __call__(self, inputs: Arrays) -> Arrays:
        returned = self._model(dict(inputs))
        return {port.any_name: returned[port] for port in self._model.outputs}


def open_session(artifact: Artifact, compute: str) -> OpenvinoSession:
    """Compiles a model for this CPU. Raises what OpenVINO raises."""
    return OpenvinoSession(artifact, compute)
