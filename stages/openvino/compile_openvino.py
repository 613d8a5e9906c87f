"""Compiles what a route brings to OpenVINO IR: a captured program, an ONNX graph, or another framework's file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import Artifact, Kind
from stages.capture.format import EXPORTED, TORCHSCRIPT
from stages.frameworks.format import FILE
from stages.onnx.format import ONNX
from stages.openvino import convert as ir
from stages.openvino.settings import Ir


@dataclass(frozen=True)
class CompileOpenvino(Ir):
    """The program as it comes.

    Args: see stages/openvino/settings.py.
    """

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"program": frozenset({ONNX, EXPORTED, TORCHSCRIPT, FILE})}
    requires: ClassVar[tuple[str, ...]] = ("numpy", "openvino")

    def modules(self, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
        return (*super().modules(kinds), *(["torch"] if kinds.get("program") in ir.CAPTURED else []))

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        return ir.made(inputs["program"], self.wanted, folder)
