"""Moves a decoder's cache into the program, as states, which Core ML keeps between calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import CheckFailed
from pipeline.notes import Notes
from pipeline.stage import Stage, Unkeyed
from stages.coreml import library as coreml_library
from stages.coreml import package as package_files
from stages.coreml.format import COREML, COREML_STATEFUL
from stages.coreml.generation import stateful
from stages.interface.generation import Generation


@dataclass(frozen=True)
class MakeStatefulCoreml(Stage):
    """The cache's inputs and outputs become states in float16, the only type of states in Core ML.

    Args:
        deployment_target: The package's, so that one without states is refused before any work.

    Source: https://apple.github.io/coremltools/docs-guides/source/stateful-models.html
    """

    deployment_target: Annotated[str, coreml_library.Target({"states": "iOS18"}), Unkeyed()]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"package": frozenset({COREML})}
    produces: ClassVar[Kind | str] = COREML_STATEFUL
    requires: ClassVar[tuple[str, ...]] = ("coremltools",)
    isolable: ClassVar[bool] = True

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        source = inputs["package"]
        caches = Generation.read(source).cache
        spec = package_files.spec_of(source.file)
        stateful.convert(spec, caches)
        weights = source.file / package_files.WEIGHTS
        package_files.write(spec, weights if weights.is_dir() else None, folder / COREML_STATEFUL.file)
        self._verify(folder / COREML_STATEFUL.file, {c.input for c in caches})
        says = f"{len(caches)} states, kept in {stateful.STATE_TYPE}"
        facts = {stateful.FACT: {"cache": stateful.STATE_TYPE}}
        return Artifact(COREML_STATEFUL, folder, facts=facts, notes=Notes(says=says))

    def _verify(self, package: Path, expected: set[str]) -> None:
        """Raises CheckFailed where the package, read back, has other states."""
        from stages.coreml.mil import read

        (function,) = read.read(package).functions.values()
        states = {name for name, kind in function.inputs.items() if kind.form == "state"}
        written = {o.inputs["input"][0] for o in function.block.operations if o.type == "write_state"}
        if not states == written == expected:
            raise CheckFailed(
                f"the package has {len(states)} states and writes {len(written)}", allowed=f"{len(expected)}"
            )
