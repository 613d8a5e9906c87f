"""Compiles what a route brings to OpenVINO IR: a captured program, an ONNX graph, or another framework's file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Optional, Self

from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem
from pipeline.stage import Stage, World
from stages.interface.edits import Edits
from stages.interface.images import Preprocessing
from stages.openvino import convert as ir
from stages.openvino import library as openvino_library


@dataclass(frozen=True)
class CompileOpenvino(Stage):
    """openvino.convert_model, the interface's names and bounded dimensions, edits to them, and save_model.

    Args:
        storage: What weights are stored in: float32, or float16 (half the file; what is computed in is decided where
            the model is loaded).
        edits: What the IR's interface is to be where it is not the model's.
        preprocessing: What is compiled in when the edits ask for raw images.
        extensions: Paths of libraries and dotted paths of Python classes with operations and conversions of your own.

    Source: https://docs.openvino.ai/2026/openvino-workflow/model-preparation/convert-model-pytorch.html
    """

    storage: str
    edits: Edits
    preprocessing: Optional[Preprocessing]
    extensions: list[str]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "program": frozenset({Kind.ONNX, Kind.EXPORTED, Kind.TORCHSCRIPT, Kind.FILE})
    }
    produces: ClassVar[Kind | str] = Kind.OPENVINO
    requires: ClassVar[tuple[str, ...]] = ("numpy", "openvino")
    isolable: ClassVar[bool] = True

    def modules(self, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
        torch = ["torch"] if kinds.get("program") in ir.CAPTURED else []
        return (*self.requires, *torch)

    def problems(self) -> list[Problem]:
        return self._wanted.problems()

    def files(self) -> frozenset[str]:
        return openvino_library.files(self.extensions)

    def settle(self, world: World) -> Self:
        openvino_library.identity(self.extensions, world)
        return self

    def identity(self, world: World) -> Mapping[str, Any]:
        return self._wanted.identity(world)

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        return ir.made(inputs["program"], self._wanted, folder)

    @property
    def _wanted(self) -> ir.Wanted:
        return ir.Wanted(self.storage, self.edits, self.preprocessing, self.extensions)
