"""An ONNX file that is itself the model: onnxruntime answers for it."""

from __future__ import annotations

from pipeline.artifact import Artifact
from stages.formats import session
from stages.formats.session import Session
from stages.onnx.format import ONNX

RENAMES = False


def requires() -> tuple[str, ...]:
    """What runs such files."""
    return session.modules(ONNX)


def unanswered(artifact: Artifact) -> str:
    """Why nothing here can run a file; never the case: without onnxruntime a run does not begin."""
    return ""


def open_session(artifact: Artifact) -> Session:
    """Loads a file. Raises what onnxruntime raises."""
    return session.open_session(artifact, "float32")
