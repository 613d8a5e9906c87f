"""Compiles a captured program, an ONNX graph, or another framework's file to OpenVINO IR."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.stage import Stage
from stages.capture.format import EXPORTED, TORCHSCRIPT
from stages.frameworks.format import FILE
from stages.onnx import pieces
from stages.onnx.format import ONNX
from stages.openvino import convert as ir
from stages.openvino import library
from stages.openvino.format import OPENVINO
from stages.openvino.settings import Ir


@dataclass(frozen=True)
class CompileOpenvino(Ir):
    """Converts the program that its route delivers.

    Args: see stages/openvino/settings.py.
    """

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"program": frozenset({ONNX, EXPORTED, TORCHSCRIPT, FILE})}
    requires: ClassVar[tuple[str, ...]] = ("numpy", "openvino")

    def modules(self, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
        return (*super().modules(kinds), *(["torch"] if kinds.get("program") in ir.CAPTURED else []))

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        return ir.convert(inputs["program"], self.options, folder)

    def parts(
        self, inputs: Mapping[str, Artifact], folder: Path
    ) -> Iterator[tuple[str, Stage, Mapping[str, Artifact]]]:
        source = inputs["program"]
        if source.kind == ONNX:
            for name, path in pieces.split(source.file, folder):
                yield name, Piece(self.extensions), {"graph": Artifact(ONNX, path.parent)}


@dataclass(frozen=True)
class Piece(Stage):
    """Converts one operator with OpenVINO, in a process of its own, since OpenVINO may crash it.

    Args:
        extensions: See library.core_with.
    """

    extensions: list[str]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"graph": frozenset({ONNX})}
    produces: ClassVar[Kind | str] = OPENVINO
    isolable: ClassVar[bool] = True

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        library.convert(inputs["graph"].file, library.load_extensions(self.extensions))
        return Artifact(OPENVINO, folder)
