"""Puts the model in evaluation mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.stage import Keep, Stage
from stages.loading.forms import parametrized


@dataclass(frozen=True)
class SetEval(Stage):
    """Turns dropout and gradients off, and lets batch norm use its running statistics: what a device will run.

    Parametrised weights, as in weight or spectral normalisation, are computed once: they do not change any more.
    """

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"module": frozenset({Kind.MODULE})}
    produces: ClassVar[Kind | str] = Kind.MODULE
    requires: ClassVar[tuple[str, ...]] = ("torch",)
    keep: ClassVar[Keep] = Keep.MEMORY

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        module = inputs["module"].live.eval()
        norms = parametrized.written_out(module)
        for parameter in module.parameters():  # the module's own requires_grad_ fails for TorchScript
            parameter.requires_grad_(False)
        return Artifact(
            Kind.MODULE, live=module, notes={"says": f"{norms} parametrised weights worked out"} if norms else {}
        )
