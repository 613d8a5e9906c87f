"""Builds a decoder of the transformers library whose cache is inputs and outputs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Optional

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, Problem, listed
from pipeline.stage import Unkeyed, World
from stages.interface import fills, lengths
from stages.interface.interface import Dim, Dims
from stages.loading import pretrained
from stages.loading.pretrained import Pretrained

# Fields of a configuration that give the number of weights in a row of a matrix.
ROWS = ("hidden_size", "n_embd", "intermediate_size", "n_inner", "ffn_dim", "moe_intermediate_size")


@dataclass(frozen=True)
class LoadCausalLm(Pretrained):
    """A model for causal language modelling whose cache is inputs and outputs of its own; see causal_lm.py.

    Args:
        dims: batch; sequence, the tokens of one call; past, the tokens before it, from 0 (a recurrent model has these
            only in its mask).
        group_size: How many weights of a row will share a scale in quantization: a size that does not divide the rows
            is refused before any work; None for no such check.
    """

    dims: Annotated[dict[str, Dim], Dims()]
    group_size: Annotated[Optional[int], Unkeyed()]

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
        if (source := super().located(world)) is not None:
            own = pretrained.read(source[0])
            config = {**own, **own.get("text_config", {}), **self.kwargs}
            self._check_positions(lengths.positions_of_json(config))
            self._check_rows(config)
        return source

    def identity(self, world: World) -> Mapping[str, Any]:
        return {**super().identity(world), "dims": {name: asdict(dim) for name, dim in self.dims.items()}}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        from stages.loading.decoders.causal_lm import CausalLM  # a module: it needs torch

        built = self.built()
        module = CausalLM(built.module)
        self._check_positions(lengths.positions(module.text))
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

    def _check_rows(self, config: Mapping[str, Any]) -> None:
        """Raises ConfigError for a group size that does not divide this model's rows."""
        rows = sorted({n for name in ROWS if type(n := config.get(name)) is int})
        if self.group_size is None or self.group_size < 1 or all(n % self.group_size == 0 for n in rows):
            return
        common = math.gcd(*rows)
        fitting = [n for n in range(2, common + 1) if common % n == 0]
        raise ConfigError(
            f"stages.quantize.group_size is {self.group_size}, and this model has rows of {listed(map(str, rows))} "
            "weights",
            allowed=f"{listed(map(str, fitting), 20)}; -1 for whole rows",
            command=f"stages.quantize.group_size={max((n for n in fitting if n <= self.group_size), default=-1)}, or "
            "stages.load.group_size=null with the layers of other rows in stages.quantize.ignored",
        )

    def _check_positions(self, most: int | None) -> None:
        """Raises ConfigError for texts longer than a model has positions."""
        tokens = sum(d.max for n, d in self.dims.items() if n in ("past", "sequence"))
        if most is not None and tokens > most:
            raise ConfigError(
                f"dims asks for {tokens} tokens together, sequence.max and past.max, and the model has {most} "
                "positions",
                allowed=f"{most} at most",
                command=f"model.dims.sequence.max={most // 2} model.dims.past.max={most - most // 2}",
            )
