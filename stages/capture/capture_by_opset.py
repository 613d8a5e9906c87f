"""Captures the model the way that the opset of its graph calls for, so that a sweep may cross the border."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Optional

from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem
from pipeline.stage import Stage, World
from stages.capture import captures, opsets


@dataclass(frozen=True)
class CaptureByOpset(Stage):
    """torch.export for opsets that the dynamo exporter writes, torch.jit.trace for those below.

    All opsets on one side of the border share one capture.

    Args:
        graph_opset: Of the ONNX graph; None where there is none, which torch.export serves.
        store_up_to: See capture_export.
    """

    graph_opset: Optional[int]
    store_up_to: int

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "module": frozenset({Kind.MODULE}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces: ClassVar[Kind | str] = Kind.EXPORTED
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "safetensors")
    repeatable: ClassVar[bool] = False  # see capture_trace

    def problems(self) -> list[Problem]:
        found = [] if self.graph_opset is None else opsets.either_problems(self.graph_opset)
        return found + captures.size_problems(self.store_up_to)

    def makes(self, kinds: Mapping[str, Kind]) -> Kind:
        return Kind.EXPORTED if self._how == "export" else Kind.TORCHSCRIPT

    def identity(self, world: World) -> Mapping[str, Any]:
        return {"how": self._how, "store_up_to": self.store_up_to}

    def describe(self) -> str:
        return f"torch.jit.trace, since opset is {self.graph_opset}" if self._how == "trace" else ""

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        if self._how == "trace":
            return captures.captured("trace", inputs, folder)
        return captures.stored(captures.captured("export", inputs, folder), self.store_up_to, folder)

    @property
    def _how(self) -> str:
        return "export" if self.graph_opset is None or self.graph_opset >= opsets.DYNAMO.start else "trace"
