"""Exports a captured program to ONNX with torch's dynamo exporter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem
from pipeline.stage import Stage
from stages import _onnx_file
from stages._interface import Dim, Input

# What the exporter of the pinned torch writes. Asked for less it logs a failed conversion and writes 18 all the same.
OPSETS = range(18, 27)


@dataclass(frozen=True)
class ExportOnnx(Stage):
    """torch.onnx.export(dynamo=True) on an exported program; folds constants and batch norms as it goes.

    Source: https://docs.pytorch.org/docs/stable/onnx_export.html
    """

    opset: int
    inputs: dict[str, Input]
    dims: dict[str, Dim]
    outputs: list[str]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"program": frozenset({Kind.EXPORTED})}
    produces: ClassVar[Kind | str] = Kind.ONNX
    requires: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxscript")

    def problems(self) -> list[Problem]:
        if self.opset in OPSETS:
            return []
        lower = "; capture=trace writes 7 to 23" if 7 <= self.opset < OPSETS.start else ""
        return [
            Problem(
                f"opset is {self.opset}, which the dynamo exporter does not write",
                allowed=f"{OPSETS.start} to {OPSETS.stop - 1}{lower}",
                command=f"opset={self.opset} capture=trace"
                if lower
                else f"opset={min(max(self.opset, OPSETS.start), OPSETS.stop - 1)}",
            )
        ]

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        import torch

        source = inputs["program"]
        program = source.live if source.live is not None else torch.export.load(source.file)
        names = tuple({i: d for i, d in enumerate(spec.shape) if isinstance(d, str)} for spec in self.inputs.values())
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=self.opset,
            input_names=list(self.inputs),
            output_names=self.outputs,
            dynamic_shapes=names,
            verbose=False,
        )
        assert exported is not None
        model = _onnx_file.of_program(exported, folder)
        _onnx_file.stamp(model, source.facts)
        _onnx_file.write(model, folder)
        _onnx_file.hold_to(model, wanted_opset=self.opset, inputs=self.inputs, outputs=self.outputs)
        says = f"opset {self.opset}, {len(model.graph.node)} nodes"
        return Artifact(Kind.ONNX, folder, facts={"opset": self.opset}, notes={"says": says})
