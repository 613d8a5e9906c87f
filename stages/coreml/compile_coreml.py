"""Converts a captured program to a Core ML package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import Artifact, Kind
from stages.coreml import convert
from stages.coreml import library as coreml_library
from stages.coreml.settings import Packaging


@dataclass(frozen=True)
class CompileCoreml(Packaging):
    """Converts a trace, which coremltools calls stable, or a program of torch.export, which it calls beta.

    Args: see stages/coreml/settings.py.
    """

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"program": frozenset(convert.CAPTURED)}
    requires: ClassVar[tuple[str, ...]] = (*coreml_library.REQUIRES, "torch")

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        return convert.convert(inputs["program"], self.options, folder)
