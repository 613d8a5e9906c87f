"""TensorFlow Lite files, executed by LiteRT, or by the interpreter inside TensorFlow, on the CPU."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from stages.frameworks import formats as file_formats

if TYPE_CHECKING:
    from stages.formats.session import Arrays

# The module with the same interpreter in each library.
INTERPRETERS = {"ai_edge_litert": "ai_edge_litert.interpreter", "tensorflow": "tensorflow.lite"}


class TfliteSession:
    """An interpreter that takes and returns tensors by the file's own names."""

    computes_in = "float32"

    def __init__(self, artifact: Artifact) -> None:
        library = file_formats.library(artifact)
        assert library is not None
        module: Any = importlib.import_module(library)
        for part in INTERPRETERS[library].split(".")[1:]:  # tensorflow.lite is no module of its own
            module = getattr(module, part, None) or importlib.import_module(f"{module.__name__}.{part}")
        self._interpreter = module.Interpreter(str(file_formats.file_of(artifact)))
        self._places = {d["name"]: d["index"] for d in self._interpreter.get_input_details()}

    def __call__(self, inputs: Arrays) -> Arrays:
        for name, value in inputs.items():
            self._interpreter.resize_tensor_input(self._places[name], value.shape)
        self._interpreter.allocate_tensors()
        for name, value in inputs.items():
            self._interpreter.set_tensor(self._places[name], value)
        self._interpreter.invoke()
        return {d["name"]: self._interpreter.get_tensor(d["index"]) for d in self._interpreter.get_output_details()}


def open_session(artifact: Artifact, compute: str) -> TfliteSession:
    """Loads a file. Raises what the interpreter raises."""
    return TfliteSession(artifact)
