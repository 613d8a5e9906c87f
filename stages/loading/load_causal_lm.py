"""Builds a decoder of the transformers library whose cache of what was said before passes in and out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, Problem, listed
from pipeline.stage import World
from stages.interface import fills, lengths
from stages.interface.interface import Dim, Dims
from stages.loading import pretrained
from stages.loading.pretrained import Pretrained


@dataclass(frozen=True)
class LoadCausalLm(Pretrained):
    """A model for causal language modelling, whose cache is inputs and outputs of their own; see causal_lm.py.

    Args:
        dims: batch; sequence, the tokens of one call; past, those before it, from 0, which a recurrent model has in its
            mask alone.
    """

    dims: Annotated[dict[str, Dim], Dims()]

    def conflicts(self) -> Iterator[Problem]:
        yield from super().conflicts()
        if missing := [n for n in ("batch", "sequence", "past") if n not in self.dims]:
            command = f"'+model.dims.{missing[0]}={{min: 1, opt: 5, max: 48}}'"
            yield Problem(f"dims has no {listed(missing)}", "batch, sequence and past", command)
        if self.kwargs.get("dtype") == "bfloat16":
            wrong = "kwargs.dtype is bfloat16, and no target takes a cache of it"
            yield Problem(wrong, "float32, float16; precision= lowers it later", "model.kwargs.dtype=float32")
        for name in (n for n, d in self.dims.items() if d.min == 0 and n != "past"):
            wrong = f"dims.{name}.min is 0: there is nothing to compute of an empty input"
            yield Problem(wrong, "1 or more; past alone may be nothing", f"model.dims.{name}.min=1")

    def located(self, world: World) -> tuple[Path, str] | None:
        if (found := super().located(world)) is not None:
            told = pretrained.read(found[0])
            self._hold_to_positions(lengths.positions_told({**told, **told.get("text_config", {}), **self.kwargs}))
        return found

    def identity(self, world: World) -> Mapping[str, Any]:
        return {**super().identity(world), "dims": {name: asdict(dim) for name, dim in self.dims.items()}}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        from stages.loading.decoders.causal_lm import CausalLM  # a module: it needs torch

        built = self.built()
        module = CausalLM(built.module)
        self._hold_to_positions(lengths.positions(module.text))
        interface, generation = module.interface(self.dims), module.generation()
        drawn = {fills.FACT: {name: spec.fill for name, spec in interface.inputs.items()}}
        facts = {**built.facts, **interface.facts, **generation.facts, **drawn}
        kinds = sorted({c.kind for c in generation.cache})
        built.notes["says"] += f", a cache of {len(generation.cache)} tensors ({', '.join(kinds)})"
        if beyond := module.beyond():
            built.notes["says"] += (
                f"; {listed(beyond)} is beyond its vocabulary of {generation.vocabulary}, and left out"
            )
        if not module.positions:
            built.notes["says"] += "; it takes no position_ids"
        return Artifact(Kind.MODULE, live=module, facts=facts, notes=built.notes)

    def _hold_to_positions(self, most: int | None) -> None:
        """Raises ConfigError for texts beyond what a model has positions for."""
        asked = sum(d.max for n, d in self.dims.items() if n in ("past", "sequence"))
        if most is not None and asked > most:
            raise ConfigError(
                f"dims asks for {asked} tokens together, sequence.max and past.max, and the model has {most} positions",
                allowed=f"{most} at most",
                command=f"model.dims.sequence.max={most // 2} model.dims.past.max={most - most // 2}",
            )
