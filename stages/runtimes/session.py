"""The contract of a runtime, and which module executes which kind."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.artifact import Artifact, Kind

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray[Any, Any]]

RUNTIMES: Mapping[Kind, str] = {Kind.ONNX: "stages.runtimes.onnx", Kind.OPENVINO: "stages.runtimes.openvino"}


class Session(Protocol):
    """An artifact that is loaded and ready to be run.

    Attributes:
        computes_in: What the runtime says it computes in, read back from it: float32, float16 or bfloat16.
    """

    computes_in: str

    def __call__(self, inputs: Arrays) -> Arrays:
        """Outputs by name for inputs by name. Raises whatever the runtime raises."""


def modules(kind: Kind) -> tuple[str, ...]:
    """The importable modules that executing a kind takes."""
    return tuple(importlib.import_module(RUNTIMES[kind]).REQUIRES)


def open_session(artifact: Artifact, compute: str) -> Session:
    """Loads an artifact on the CPU.

    Args:
        artifact: One of the kinds in RUNTIMES.
        compute: What it must compute in: float32, float16 or bfloat16.
    """
    session: Session = importlib.import_module(RUNTIMES[artifact.kind]).open_session(artifact, compute)
    return session
