"""Captures the model in the way that the graph's opset needs, so that a sweep may have opsets of both exporters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional

from pipeline.artifact import Artifact, Kind
from pipeline.stage import AtLeast, Stage, Unkeyed, World
from stages.capture import captures, opsets
from stages.capture.format import EXPORTED, TORCHSCRIPT


@dataclass(frozen=True)
class CaptureByOpset(Stage):
    """torch.export for opsets that the dynamo exporter writes, torch.jit.trace for those below.

    All opsets on one side of the border share one capture.

    Args:
        graph_opset: The opset of the ONNX graph; None without a graph: torch.export is then used.
        store_up_to: See capture_export.
    """

    graph_opset: Annotated[Optional[int], opsets.ANY, Unkeyed()]
    store_up_to: Annotated[int, AtLeast(0, "a number of bytes from 0 up")]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "module": frozenset({Kind.MODULE}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces: ClassVar[Kind | str] = EXPORTED
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "safetensors")
    repeatable: ClassVar[bool] = False  # see capture_trace

    def makes(self, kinds: Mapping[str, Kind]) -> Kind:
        return EXPORTED if self._how == "export" else TORCHSCRIPT

    def identity(self, world: World) -> Mapping[str, Any]:
        return {**super().identity(world), "how": self._how}

    def describe(self) -> str:
        return f"torch.jit.trace, since opset is {self.graph_opset}" if self._how == "trace" else ""

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        if self._how == "trace":
            return captures.captured("trace", inputs, folder)
        return captures.stored(captures.captured("export", inputs, folder), self.store_up_to, folder)

    @property
    def _how(self) -> str:
        return "export" if self.graph_opset is None or self.graph_opset >= opsets.DYNAMO.start else "trace"
