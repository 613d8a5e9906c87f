"""Exports a captured program to ONNX with torch's dynamo exporter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem
from pipeline.stage import Stage
from stages import _exporters
from stages._exporters import DYNAMO_OPSETS, TORCHSCRIPT_OPSETS


@dataclass(frozen=True)
class ExportOnnx(Stage):
    """torch.onnx.export(dynamo=True) on an exported program; folds constants and batch norms as it goes.

    Source: https://docs.pytorch.org/docs/stable/onnx_export.html
    """

    opset: int

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"program": frozenset({Kind.EXPORTED})}
    produces: ClassVar[Kind | str] = Kind.ONNX
    requires: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxscript")

    def problems(self) -> list[Problem]:
        if self.opset in DYNAMO_OPSETS:
            return []
        lower = self.opset in TORCHSCRIPT_OPSETS
        nearest = min(max(self.opset, DYNAMO_OPSETS.start), DYNAMO_OPSETS.stop - 1)
        return [
            Problem(
                f"opset is {self.opset}, which the dynamo exporter does not write",
                allowed=f"{DYNAMO_OPSETS.start} to {DYNAMO_OPSETS.stop - 1}"
                + ("; capture=trace or script writes it" if lower else ""),
                command=f"opset={self.opset} capture=trace" if lower else f"opset={nearest}",
            )
        ]

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        import torch

        source = inputs["program"]
        program = source.live if source.live is not None else torch.export.load(source.file)
        return _exporters.by_dynamo(program, source, self.opset, folder)
