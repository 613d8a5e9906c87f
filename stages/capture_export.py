"""Captures the model as a torch.export program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import FILES, Artifact, Kind
from pipeline.errors import Problem
from pipeline.stage import Stage
from stages import _captures


@dataclass(frozen=True)
class CaptureExport(Stage):
    """torch.export with the dynamic dimensions of the model's YAML, each within its min and max.

    The whole graph is captured with its conditions on shapes; what cannot be is an error, never a frozen branch.

    Args:
        store_up_to: Bytes of weights up to which the program is stored. It holds a copy of them, and to capture a
            larger model again takes less than to write and read that copy.

    Source: https://docs.pytorch.org/docs/stable/export.html
    """

    store_up_to: int

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "module": frozenset({Kind.MODULE}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces: ClassVar[Kind | str] = Kind.EXPORTED
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "safetensors")
    version: ClassVar[int] = 2

    def problems(self) -> list[Problem]:
        if self.store_up_to >= 0:
            return []
        return [Problem(f"store_up_to is {self.store_up_to}", allowed="a number of bytes from 0 up")]

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        import torch

        made = _captures.captured("export", inputs, folder)
        size = sum(t.numel() * t.element_size() for t in made.live.state_dict.values())
        if size > self.store_up_to:
            return made.noting(says=f"torch.export; {size / 2**30:.1f} GiB of weights, so it stays in memory")
        torch.export.save(made.live, folder / FILES[Kind.EXPORTED])
        return replace(made, folder=folder)
