"""Exports the module to ONNX by the first capture that serves: torch.export, then trace, then script."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipeline.artifact import FILES, Artifact, Kind
from pipeline.errors import DrydockError, Problem, StageError
from pipeline.stage import Stage
from stages import _captures, _exporters
from stages._exporters import DYNAMO_OPSETS, TORCHSCRIPT_OPSETS
from stages._interface import Interface

log = logging.getLogger(__name__)

OPSETS = range(TORCHSCRIPT_OPSETS.start, DYNAMO_OPSETS.stop)


@dataclass(frozen=True)
class ExportAuto(Stage):
    """Captures and exports in one stage, since a capture serves only if the exporter can write what it captured.

    The result says which capture served, and the notes why the others did not. A capture whose exporter does not write
    the opset is not tried.
    """

    opset: int

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "module": frozenset({Kind.MODULE}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces: ClassVar[Kind | str] = Kind.ONNX
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "onnx", "onnxscript", "safetensors")

    def problems(self) -> list[Problem]:
        if self.opset in OPSETS:
            return []
        nearest = min(max(self.opset, OPSETS.start), OPSETS.stop - 1)
        allowed = f"{OPSETS.start} to {OPSETS.stop - 1}"
        return [Problem(f"opset is {self.opset}, which no exporter writes", allowed, f"opset={nearest}")]

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        refused: dict[str, DrydockError] = {}
        for capture, opsets in (
            ("export", DYNAMO_OPSETS),
            ("trace", TORCHSCRIPT_OPSETS),
            ("script", TORCHSCRIPT_OPSETS),
        ):
            if self.opset not in opsets:
                continue
            attempt = folder / capture
            attempt.mkdir()
            try:
                made, caution = self._by(capture, inputs, attempt)
            except DrydockError as e:
                refused[capture] = e
                shutil.rmtree(attempt)
                log.info("capture=%s does not serve: %s", capture, e.problems[0].what)
                continue
            for path in attempt.iterdir():
                path.rename(folder / path.name)
            attempt.rmdir()
            why = "".join(f"; not {name}: {e.problems[0].what}" for name, e in refused.items())
            notes = {"says": f"by {capture}: {made.notes['says']}{why}", "caution": caution}
            return Artifact(Kind.ONNX, folder, facts={**made.facts, "capture": capture}, notes=notes)
        raise StageError([p.at(f"capture={name}: ") for name, e in refused.items() for p in e.problems]) from (
            next(reversed(refused.values()))
        )

    def _by(self, capture: str, inputs: Mapping[str, Artifact], folder: Path) -> tuple[Artifact, str]:
        import torch

        module, reference = inputs["module"].live, inputs["reference"]
        source = Artifact(
            Kind.MODULE, facts={**inputs["module"].facts, **Interface.of(reference).facts, "capture": capture}
        )
        if capture == "export":
            return _exporters.by_dynamo(_captures.exported(module, reference), source, self.opset, folder), ""
        fixed: list[str] = []
        captured: Any
        if capture == "trace":
            captured, fixed = _captures.traced(module, reference)
        else:
            captured = _captures.scripted(module, reference)
        # Through a file, as by_torchscript wants it.
        path = folder / FILES[Kind.TORCHSCRIPT]
        torch.jit.save(captured, str(path))
        captured = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
        path.unlink()
        return _exporters.by_torchscript(captured, source, reference, self.opset, folder), _captures.caution(fixed)
