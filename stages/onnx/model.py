"""An ONNX file that is itself the model: onnxruntime computes its reference."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from stages.formats import session
from stages.formats.session import Session
from stages.onnx import file as onnx_file
from stages.onnx import runtime, sigmoids
from stages.onnx.format import ONNX

if TYPE_CHECKING:
    from stages.formats.session import Arrays

RENAMES = False


def requires() -> tuple[str, ...]:
    """The modules that run such files."""
    return session.modules(ONNX)


def unanswered(artifact: Artifact) -> str:
    """Why nothing here can run a file; always empty: without onnxruntime a run does not begin."""
    return ""


def open_session(artifact: Artifact) -> Session:
    """Loads a file. Raises what onnxruntime raises."""
    return session.open_session(artifact, "float32")


def open_exact(artifact: Artifact) -> Callable[[Arrays], dict[str, Any]] | None:
    """The file with the operations in float64 that onnxruntime computes too roughly; None where it has no such one.

    Raises what onnxruntime raises.
    """
    model = onnx_file.read(artifact.file)
    if not sigmoids.widen(model):
        return None
    with tempfile.TemporaryDirectory() as folder:
        return runtime.inference(onnx_file.write(model, Path(folder)))
