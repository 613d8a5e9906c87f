"""Exports a captured program to ONNX with that one of torch's two exporters that accepts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import Artifact, Kind
from stages.capture.format import EXPORTED, TORCHSCRIPT
from stages.onnx.exporters import EitherExporter


@dataclass(frozen=True)
class ExportByOpset(EitherExporter):
    """Exports a program of torch.export as export_onnx does, and a traced module as export_torchscript does."""

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "program": frozenset({EXPORTED, TORCHSCRIPT}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "onnx", "onnxscript", "safetensors")

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        return self.exported(inputs["program"], inputs["reference"], folder)
