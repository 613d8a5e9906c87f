"""Captures the model by tracing one call."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import FILES, Artifact, Kind
from pipeline.errors import listed
from pipeline.stage import Stage
from stages import _interface
from stages._interface import Dim, Input

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaptureTrace(Stage):
    """torch.jit.trace: records what one call does, so a branch that depends on values is fixed as it was taken.

    The tracer's warnings about that are shown, and the checks run at other shapes than the example's.
    Source: https://docs.pytorch.org/docs/stable/generated/torch.jit.trace.html
    """

    inputs: dict[str, Input]
    dims: dict[str, Dim]
    seed: int

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"module": frozenset({Kind.MODULE})}
    produces: ClassVar[Kind | str] = Kind.TORCHSCRIPT
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy")

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        import torch

        example = _interface.draw(self.inputs, _interface.example_sizes(self.dims), self.seed)
        arguments = tuple(torch.from_numpy(v) for v in example.values())
        # Attention's fast path is one fused operator that no exporter knows.
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with warnings.catch_warnings(record=True) as caught, torch.no_grad():
                warnings.simplefilter("default")
                # Its own re-trace compares graphs; the check stages compare outputs, at more shapes.
                traced = torch.jit.trace(inputs["module"].live, arguments, check_trace=False)  # type: ignore[no-untyped-call]
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
        baked = [w for w in caught if issubclass(w.category, torch.jit.TracerWarning)]  # type: ignore[attr-defined]
        for w in baked:
            log.warning("%s:%d: %s", w.filename, w.lineno, str(w.message).strip().splitlines()[0])
        torch.jit.save(traced, str(folder / FILES[Kind.TORCHSCRIPT]))
        where = [f"{Path(w.filename).name}:{w.lineno}" for w in baked]
        caution = f"branches or sizes are fixed as the example took them, at {listed(where, 5)}" if baked else ""
        return Artifact(Kind.TORCHSCRIPT, folder, notes={"says": "torch.jit.trace", "caution": caution})
