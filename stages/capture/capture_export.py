"""Captures the model as a torch.export program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.stage import AtLeast, Stage
from stages.capture import captures
from stages.capture.format import EXPORTED


@dataclass(frozen=True)
class CaptureExport(Stage):
    """torch.export with the dynamic dimensions of the model's YAML, each within its min and max.

    The whole graph is captured with its conditions on shapes. Each is checked at every size of `dims`, because
    exporters drop conditions. A model that torch.export cannot capture is an error, never a frozen branch.

    Args:
        store_up_to: Bytes of weights up to which the program is stored. It includes a copy of them, and capturing a
            larger model again takes less time than writing and reading that copy.

    Source: https://docs.pytorch.org/docs/stable/export.html
    """

    store_up_to: Annotated[int, AtLeast(0, "a number of bytes from 0 up")]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "module": frozenset({Kind.MODULE}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces: ClassVar[Kind | str] = EXPORTED
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "safetensors")

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        return captures.stored(captures.captured("export", inputs, folder), self.store_up_to, folder)
