"""Captures the model by tracing one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.stage import Stage
from stages.capture import captures
from stages.capture.format import TORCHSCRIPT


@dataclass(frozen=True)
class CaptureTrace(Stage):
    """torch.jit.trace: records what one call does, so a branch that depends on values is fixed as it was taken.

    The tracer's warnings about that are shown, once for each line of the model. Sizes at which the model takes another
    branch are searched, and the trace is compared there; what the search does not find is NOT CHECKED.
    Source: https://docs.pytorch.org/docs/stable/generated/torch.jit.trace.html
    """

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "module": frozenset({Kind.MODULE}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces: ClassVar[Kind | str] = TORCHSCRIPT
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "safetensors")
    repeatable: ClassVar[bool] = False  # it numbers classes by how many the process has seen

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        return captures.captured("trace", inputs, folder)
