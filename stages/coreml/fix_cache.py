"""Gives a decoder a cache of a set length, which is what Core ML's states are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Optional

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, Problem
from pipeline.notes import Notes
from pipeline.stage import AtLeast, Keep, Stage, Unkeyed
from stages.coreml import library as coreml_library
from stages.interface import fills
from stages.interface.generation import UNLIMITED, Generation
from stages.interface.interface import Dim, Dims

MOST = 2048  # tokens, where nothing says how many
SEQUENCE, BATCH = "sequence", "batch"


@dataclass(frozen=True)
class FixCache(Stage):
    """Keys and values of `length` tokens pass in and out, the new ones are written at `position`; one text at a time.

    The module is held to what it answers without any cache: a text in pieces as in one call.

    Args:
        length: How many tokens the cache has room for; None for the model's positions, 2048 at most.
        dims: sequence, the tokens of one call. Of batch, 1 must be among the sizes; past is of no use here.
        deployment_target: That of the package, so that one without states is refused before any work.
    """

    length: Annotated[Optional[int], AtLeast(1, command="model.generation.length=2048")]
    dims: Annotated[dict[str, Dim], Dims()]
    deployment_target: Annotated[str, coreml_library.Target({"states": "iOS18"}), Unkeyed()]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"module": frozenset({Kind.MODULE})}
    produces: ClassVar[Kind | str] = Kind.MODULE
    requires: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    keep: ClassVar[Keep] = Keep.MEMORY

    def conflicts(self) -> Iterator[Problem]:
        if SEQUENCE not in self.dims:
            yield Problem("dims has no sequence", command=f"'+model.dims.{SEQUENCE}={{min: 1, opt: 7, max: 48}}'")
        elif self.length and self.dims[SEQUENCE].max > self.length:
            yield Problem(
                f"length is {self.length}, and a call may have {self.dims[SEQUENCE].max} tokens",
                allowed="a length that a call goes into",
                command=f"model.dims.{SEQUENCE}.max={self.length}, or a longer model.generation.length",
            )
        if BATCH in self.dims and self.dims[BATCH].min > 1:
            wrong = f"dims.{BATCH}.min is {self.dims[BATCH].min}, and Core ML's cache is of one text"
            yield Problem(wrong, allowed="1", command=f"model.dims.{BATCH}.min=1")

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        from stages.coreml.generation.fixed import FixedCache  # a module: it needs torch

        source = inputs["module"]
        before = Generation.of(source)
        module = FixedCache(source.live, self._length(before)).eval()
        generation = module.generation(before)
        asked = module.demand(generation, self.dims[SEQUENCE].max)
        interface = module.interface(self.dims[SEQUENCE], generation.vocabulary)
        drawn = {fills.FACT: {name: spec.fill for name, spec in interface.inputs.items()}}
        says = f"a cache of {self._length(before)} tokens, one text at a time; {asked}"
        return Artifact(
            Kind.MODULE,
            live=module,
            facts={**interface.facts, **generation.facts, **drawn},
            notes=Notes(says=says),
        )

    def _length(self, generation: Generation) -> int:
        """Raises ConfigError for texts beyond what a model has positions for."""
        most = generation.positions
        if self.length is None:
            return min(most, MOST)
        if most != UNLIMITED and self.length > most:
            raise ConfigError(
                f"generation.length is {self.length}, and the model has {most} positions",
                allowed=f"{most} at most",
                command=f"model.generation.length={most}",
            )
        return self.length
