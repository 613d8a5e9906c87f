"""Puts the model, or a part of it, in evaluation mode."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Optional

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, listed
from pipeline.stage import Keep, Stage
from stages.loading import weights
from stages.loading.forms import parametrized


@dataclass(frozen=True)
class SetEval(Stage):
    """Turns dropout and gradients off, and lets batch norm use its running statistics: what a device will run.

    Parametrised weights, as in weight or spectral normalisation, are computed once: they do not change any more.

    Args:
        part: Dotted name of the submodule that is converted; None for the whole.
    """

    part: Optional[str]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"module": frozenset({Kind.MODULE})}
    produces: ClassVar[Kind | str] = Kind.MODULE
    requires: ClassVar[tuple[str, ...]] = ("torch",)
    keep: ClassVar[Keep] = Keep.MEMORY

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        whole = inputs["module"]
        module = (_part(whole.live, self.part) if self.part else whole.live).eval()
        norms = parametrized.written_out(module)
        for parameter in module.parameters():  # the module's own requires_grad_ fails for TorchScript
            parameter.requires_grad_(False)
        source = {**whole.facts.get("source", {}), "part": self.part, "bytes": weights.size(module)}
        says = [f"{self.part} alone"] * bool(self.part) + [f"{norms} parametrised weights worked out"] * bool(norms)
        return Artifact(
            Kind.MODULE,
            live=module,
            facts={"source": source} if self.part else {},
            notes={"says": "; ".join(says)} if says else {},
        )


def _part(module: Any, name: str) -> Any:
    """The submodule of a name. Raises ConfigError where there is none that can be called."""
    modules = dict(module.named_modules())  # TorchScript has no get_submodule
    if name in modules:
        return modules[name]
    parts = [n for n, _ in module.named_children()]
    near = difflib.get_close_matches(name, [n for n in modules if n], 1, 0)
    raise ConfigError(
        f"part={name}: the model has no such part",
        allowed=f"a dotted name that begins with one of {listed(parts, 8)}" if parts else "null: it has no parts",
        command=f"model.part={near[0] if near else 'null'}",
    )
