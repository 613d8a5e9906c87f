"""Captures the model as a torch.export program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import FILES, Artifact, Kind
from pipeline.stage import Stage
from stages import _captures
from stages._interface import Interface


@dataclass(frozen=True)
class CaptureExport(Stage):
    """torch.export with the dynamic dimensions of the model's YAML, each within its min and max.

    The whole graph is captured with its conditions on shapes; what cannot be is an error, never a frozen branch.
    Source: https://docs.pytorch.org/docs/stable/export.html
    """

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "module": frozenset({Kind.MODULE}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces: ClassVar[Kind | str] = Kind.EXPORTED
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "safetensors")

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        import torch

        program = _captures.exported(inputs["module"].live, inputs["reference"])
        torch.export.save(program, folder / FILES[Kind.EXPORTED])
        facts = {**Interface.of(inputs["reference"]).facts, "capture": "export"}
        return Artifact(Kind.EXPORTED, folder, facts=facts, notes={"says": "torch.export"}, live=program)
