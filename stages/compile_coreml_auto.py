"""Converts a module to a Core ML package by the first capture that serves."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem, listed
from pipeline.stage import World
from stages import _attempts, _captures, _coreml, _mlprogram, _tolerance
from stages._attempts import Held
from stages._compare import Tolerance
from stages._packaging import Packaging

CAPTURES = ("export", "trace", "script")


@dataclass(frozen=True)
class CompileCoremlAuto(Packaging):
    """Each capture in turn; one is taken when its package is there and agrees with the model.

    The facts say which capture served, the notes why the others did not.

    Args: see _packaging.Packaging, and:
        captures: Those to try, in this order.
        tolerance: How far the package's outputs may be from the reference.
    """

    captures: list[str]
    tolerance: Tolerance

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "module": frozenset({Kind.MODULE}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    requires: ClassVar[tuple[str, ...]] = (*_coreml.REQUIRES, "safetensors", "torch")

    def problems(self) -> list[Problem]:
        found = [*super().problems(), *_tolerance.problems(self.tolerance)]
        if not self.captures or not set(self.captures) <= set(CAPTURES):
            found.append(Problem(f"captures is {self.captures}", allowed=f"some of {listed(CAPTURES)}"))
        return found

    def identity(self, world: World) -> Mapping[str, Any]:
        held = {"tolerance": asdict(self.tolerance), "processor": dict(world.processor())}
        return {**super().identity(world), **held}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        ways = {f"capture={c}": functools.partial(self._by, c, inputs) for c in self.captures}
        return _attempts.first(ways, Held(inputs["reference"], self.tolerance, self.compute), folder)

    def _by(self, capture: str, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        aside, package = folder / "captured", folder / "package"
        aside.mkdir()
        package.mkdir()
        program = _captures.captured(capture, inputs, aside)
        program = replace(program, facts={**inputs["module"].facts, **program.facts})
        made = _mlprogram.made(program, self.wanted, package)
        notes = {**made.notes, "caution": program.notes.get("caution", "")}
        return replace(made, facts={**program.facts, **made.facts}, notes=notes)
