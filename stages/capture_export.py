"""Captures the model as a torch.export program."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import FILES, Artifact, Kind
from pipeline.errors import CheckFailed, DrydockError, StageError, listed
from pipeline.stage import Stage
from stages import _interface
from stages._interface import Dim, Input


@dataclass(frozen=True)
class CaptureExport(Stage):
    """torch.export with the dynamic dimensions of the model's YAML, each within its min and max.

    The whole graph is captured with its conditions on shapes; what cannot be is an error, never a frozen branch.
    Source: https://docs.pytorch.org/docs/stable/export.html
    """

    inputs: dict[str, Input]
    dims: dict[str, Dim]
    seed: int

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"module": frozenset({Kind.MODULE})}
    produces: ClassVar[Kind | str] = Kind.EXPORTED
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy")

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        import torch

        module = inputs["module"].live
        example = _interface.draw(self.inputs, _interface.example_sizes(self.dims), self.seed)
        dims = {name: torch.export.Dim(name, min=d.min, max=d.max) for name, d in self.dims.items()}
        shapes = tuple(
            {i: dims[d] for i, d in enumerate(spec.shape) if isinstance(d, str)} for spec in self.inputs.values()
        )
        arguments = tuple(torch.from_numpy(v) for v in example.values())
        try:
            program = torch.export.export(module, arguments, dynamic_shapes=shapes, strict=False)
        except Exception as e:  # torch.export raises from many modules, some of them private
            raise _not_captured(e) from e
        torch.export.save(program, folder / FILES[Kind.EXPORTED])
        return Artifact(Kind.EXPORTED, folder, notes={"says": "torch.export"}, live=program)


def _not_captured(error: Exception) -> DrydockError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if fixed := re.search(r"Constraints violated \(([^)]*)\)", str(error)):
        # torch lists each broken promise on a line that begins with a dash.
        reasons = [line.lstrip("- ") for line in lines if line.startswith("-")]
        return CheckFailed(
            f"model.dims.{fixed[1].replace(', ', ', model.dims.')} cannot be dynamic: {listed(reasons or lines, 3)}",
            allowed="dimensions that the model's code does not fix",
            command="a number in model.inputs.NAME.shape instead of the name, or a narrower range in model.dims",
        )
    return StageError(
        f"torch.export cannot capture the model: {lines[0]}",
        allowed="control flow and shapes that do not depend on the values of inputs",
        command="torch.cond or torch.where in the model; capture=trace would fix the branch as the example takes it",
    )
