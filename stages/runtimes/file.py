"""A file of another framework, executed by that framework, where it is installed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.artifact import Artifact, Kind
from stages import _formats
from stages._interface import Interface
from stages.runtimes import session

if TYPE_CHECKING:
    from stages.runtimes.session import Arrays, Session

RUNTIMES: Mapping[str, str] = {
    "frozen_graph": "stages.runtimes.tensorflow",
    "saved_model": "stages.runtimes.tensorflow",
    "tflite": "stages.runtimes.tflite",
    "paddle": "stages.runtimes.paddle",
}


class FileSession:
    """A framework's session, which knows the file's own names, under the names that the interface has for them."""

    def __init__(self, artifact: Artifact, running: Session) -> None:
        self._running = running
        self._theirs = _formats.their_names(artifact)
        self._outputs = list(Interface.of(artifact).outputs)
        self.computes_in = running.computes_in

    def __call__(self, inputs: Arrays) -> Arrays:
        returned = self._running({self._theirs[name]: value for name, value in inputs.items()})
        return {name: returned[self._theirs[name]] for name in self._outputs}


def open_session(artifact: Artifact, compute: str) -> FileSession:
    """Loads a file; `_formats.library` says whether anything is there to run it. Raises what the framework raises."""
    kind = artifact.facts[_formats.SOURCE]["format"]
    if kind == _formats.ONNX:
        return FileSession(artifact, session.open_session(replace(artifact, kind=Kind.ONNX), compute))
    return FileSession(artifact, importlib.import_module(RUNTIMES[kind]).open_session(artifact, compute))
