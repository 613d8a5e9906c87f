"""Exports the module to ONNX by the first capture that serves: torch.export, then trace, then script."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from pipeline.artifact import Artifact, Kind
from stages.capture import captures, programs
from stages.capture import opsets as exporter_opsets
from stages.onnx.exporters import EitherExporter
from stages.portable.comparison import Tolerance
from stages.reference import attempts
from stages.reference.attempts import Held
from stages.reference.tolerance import Within


@dataclass(frozen=True)
class ExportAuto(EitherExporter):
    """Captures and exports in one stage, since a capture serves only if its graph is written and agrees with the model.

    A trace that fixed a branch, for instance, is found out at another shape, and script is tried. The result says which
    capture served, and the notes why the others did not. A capture whose exporter does not write the opset is not
    tried.

    Args:
        tolerance: How far the graph's outputs may be from the reference.
    """

    tolerance: Annotated[Tolerance, Within()]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "module": frozenset({Kind.MODULE}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "onnx", "onnxscript", "onnxruntime", "safetensors")

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        ways = {
            f"capture={how}": functools.partial(self._by, how, inputs)
            for how, opsets in exporter_opsets.OF_CAPTURE.items()
            if self.opset in opsets
        }
        return attempts.first(ways, Held(inputs["reference"], self.tolerance), folder)

    def _by(self, how: str, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        aside, graph = folder / "captured", folder / "graph"
        aside.mkdir()
        graph.mkdir()
        program = captures.captured(how, inputs, aside)
        source = replace(program, facts={**inputs["module"].facts, **program.facts})
        made = self.exported(source, inputs["reference"], graph)
        return replace(made, facts={**made.facts, "capture": how}, notes=programs.noting(made, program))
