"""A file of another framework that is itself the model: its framework gives the answers, where it is installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline import formats
from pipeline.artifact import Artifact, Kind
from stages.formats import session
from stages.frameworks import formats as file_formats
from stages.interface.interface import Interface

if TYPE_CHECKING:
    from stages.formats.session import Arrays, Session

    Ask = Callable[[Arrays], Arrays]

RENAMES = True  # model.names gives its inputs and outputs other names
RUNTIMES: Mapping[str, str] = {
    "frozen_graph": "stages.frameworks.tensorflow",
    "saved_model": "stages.frameworks.tensorflow",
    "tflite": "stages.frameworks.tflite",
    "paddle": "stages.frameworks.paddle",
}


class FileSession:
    """A framework's session, which uses the file's own names, with the interface's names instead."""

    def __init__(self, artifact: Artifact, running: Session | Ask, computes_in: str) -> None:
        self._running, self.computes_in = running, computes_in
        self._theirs = file_formats.their_names(artifact)
        self._outputs = list(Interface.read(artifact).outputs)

    def __call__(self, inputs: Arrays) -> Arrays:
        returned = self._running({self._theirs[name]: value for name, value in inputs.items()})
        return {name: returned[self._theirs[name]] for name in self._outputs}


def requires() -> tuple[str, ...]:
    """All installed libraries that could run a file: installing another one leads to another reference."""
    return file_formats.installed()


def unanswered(artifact: Artifact) -> str:
    """Why nothing installed can run a file, in words; empty where something can."""
    return file_formats.lacking(artifact) if file_formats.library(artifact) is None else ""


def open_session(artifact: Artifact) -> FileSession:
    """Loads a file that can be run. Raises what the framework raises."""
    kind = artifact.facts[file_formats.SOURCE]["format"]
    if kind == file_formats.ONNX:  # its kind has the same name
        running = session.open_session(replace(artifact, kind=Kind(kind)), "float32")
    else:
        running = importlib.import_module(RUNTIMES[kind]).open_session(artifact, "float32")
    return FileSession(artifact, running, running.computes_in)


def open_exact(artifact: Artifact) -> FileSession | None:
    """The file with more precision than float32, as far as possible; see stages/onnx/model.py."""
    kind = artifact.facts[file_formats.SOURCE]["format"]
    if kind != file_formats.ONNX:
        return None
    exact = formats.part(kind, "model").open_exact(replace(artifact, kind=Kind(kind)))
    return exact and FileSession(artifact, exact, "float32")
