"""Captures the model by compiling its source with TorchScript."""

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
class CaptureScript(Stage):
    """torch.jit.script: the model's own branches and loops go into the graph, as far as TorchScript knows its Python.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.jit.script.html
    """

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "module": frozenset({Kind.MODULE}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces: ClassVar[Kind | str] = TORCHSCRIPT
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "safetensors")
    repeatable: ClassVar[bool] = False  # its classes are numbered by what the process has met before

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        return captures.captured("script", inputs, folder)
