"""Converts a captured program to a Core ML package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import Artifact, Kind
from stages import _coreml, _mlprogram
from stages._packaging import Packaging


@dataclass(frozen=True)
class CompileCoreml(Packaging):
    """From a trace, which coremltools calls stable, or a program of torch.export, which it calls beta.

    Args: see _packaging.Packaging.
    """

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"program": frozenset(_mlprogram.CAPTURED)}
    requires: ClassVar[tuple[str, ...]] = (*_coreml.REQUIRES, "torch")

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        return _mlprogram.made(inputs["program"], self.wanted, folder)
