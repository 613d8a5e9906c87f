"""Converts a module to a Core ML package by the first capture that serves."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import listed
from pipeline.stage import SomeOf
from stages.capture import captures, programs
from stages.coreml import convert
from stages.coreml import library as coreml_library
from stages.coreml.settings import Packaging
from stages.portable.comparison import Tolerance
from stages.reference import attempts
from stages.reference.attempts import Held
from stages.reference.tolerance import Within

CAPTURES = ("export", "trace", "script")


@dataclass(frozen=True)
class CompileCoremlAuto(Packaging):
    """Each capture in turn; one is taken when its package is there and agrees with the model.

    The facts say which capture served, the notes why the others did not.

    Args: see _packaging.Packaging, and:
        captures: Those to try, in this order.
        tolerance: How far the package's outputs may be from the reference.
    """

    captures: Annotated[list[str], SomeOf(CAPTURES, f"some of {listed(CAPTURES)}", least=1)]
    tolerance: Annotated[Tolerance, Within()]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "module": frozenset({Kind.MODULE}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    requires: ClassVar[tuple[str, ...]] = (*coreml_library.REQUIRES, "safetensors", "torch")
    native_to: ClassVar[tuple[str, ...]] = ("processor",)

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        ways = {f"capture={c}": functools.partial(self._by, c, inputs) for c in self.captures}
        return attempts.first(ways, Held(inputs["reference"], self.tolerance, self.compute), folder)

    def _by(self, capture: str, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        aside, package = folder / "captured", folder / "package"
        aside.mkdir()
        package.mkdir()
        program = captures.captured(capture, inputs, aside)
        program = replace(program, facts={**inputs["module"].facts, **program.facts})
        made = convert.made(program, self.wanted, package)
        return replace(made, facts={**program.facts, **made.facts}, notes=programs.noting(made, program))
