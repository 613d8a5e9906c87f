"""Exports a traced or scripted module to ONNX with torch's TorchScript exporter."""

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
class ExportTorchscript(Stage):
    """torch.onnx.export(dynamo=False) on a TorchScript module: the only way to opsets below 18.

    Source: https://docs.pytorch.org/docs/stable/onnx_torchscript.html
    """

    opset: int

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "program": frozenset({Kind.TORCHSCRIPT}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces: ClassVar[Kind | str] = Kind.ONNX
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "onnx", "safetensors")

    def problems(self) -> list[Problem]:
        if self.opset in TORCHSCRIPT_OPSETS:
            return []
        higher = self.opset in DYNAMO_OPSETS
        nearest = min(max(self.opset, TORCHSCRIPT_OPSETS.start), TORCHSCRIPT_OPSETS.stop - 1)
        return [
            Problem(
                f"opset is {self.opset}, which the TorchScript exporter does not write",
                allowed=f"{TORCHSCRIPT_OPSETS.start} to {TORCHSCRIPT_OPSETS.stop - 1}"
                + ("; capture=export writes it" if higher else ""),
                command=f"opset={self.opset} capture=export" if higher else f"opset={nearest}",
            )
        ]

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        import torch

        source = inputs["program"]
        traced = torch.jit.load(str(source.file))  # type: ignore[no-untyped-call]
        return _exporters.by_torchscript(traced, source, inputs["reference"], self.opset, folder)
