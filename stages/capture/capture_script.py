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
    """torch.jit.script: the graph has the model's own branches and loops, as far as TorchScript supports its Python.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.jit.script.html
    """

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "module": frozenset({Kind.MODULE}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces: ClassVar[Kind | str] = TORCHSCRIPT
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "safetensors")
    repeatable: ClassVar[bool] = False  # it numbers classes by how many the process has seen

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        return captures.captured("script", inputs, folder)
