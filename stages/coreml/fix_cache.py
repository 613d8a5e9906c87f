"""Gives a decoder a cache of fixed length, as Core ML's states need it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional, Self

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, Problem, listed
from pipeline.notes import Notes
from pipeline.stage import AtLeast, Keep, Stage, Unkeyed, World
from stages.coreml import library as coreml_library
from stages.generation.model_folder import CONFIG
from stages.interface import fills, lengths
from stages.interface.generation import Generation
from stages.interface.interface import Dim, Dims

MOST = 2048  # tokens, where the settings name no length
SEQUENCE, BATCH = "sequence", "batch"
# A configuration's names for blocks of attention, and its keys where blocks are recurrent.
ATTENDING = {"full_attention", "sliding_attention", "attention"}
RECURRENT = ("state_size", "ssm_cfg", "mamba_d_state")


@dataclass(frozen=True)
class FixCache(Stage):
    """Inputs and outputs have keys and values of `length` tokens; new ones go to `position`. One text at a time.

    The module is compared with the model without a cache: a text in pieces must give the same as in one call.

    Args:
        length: How many tokens the cache has room for; None for the model's positions, 2048 at most.
        dims: sequence, the tokens of one call. The sizes of batch must include 1; past is not used.
        deployment_target: The package's, so that one without states is refused before any work.
        weights: The model's folder: its config.json is enough to refuse some models before any work.
        kwargs: Fields of its configuration; they override those of config.json.
    """

    length: Annotated[Optional[int], AtLeast(1, command="model.generation.length=2048")]
    dims: Annotated[dict[str, Dim], Dims()]
    deployment_target: Annotated[str, coreml_library.Target({"states": "iOS18"}), Unkeyed()]

    weights: Annotated[str, Unkeyed()]
    kwargs: Annotated[dict[str, Any], Unkeyed()]

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

    def settle(self, world: World) -> Self:
        settled = super().settle(world)
        config = self._early_config()
        positions = lengths.positions_of_json(config)
        if positions is not None and self.length is not None:
            self._verify_length(self.length, positions)
        if others := sorted({*config.get("layer_types", ())} - ATTENDING) or [n for n in RECURRENT if n in config]:
            raise ConfigError(
                f"{config.get('model_type', 'the model')} has {listed(others)}, and Core ML's cache is keys and values",
                allowed="a decoder of attention alone, such as llama, gpt2, qwen3, phi3, gemma2 or bloom",
                command="target=onnx or target=openvino, which take other states",
            )
        return settled

    def _early_config(self) -> Mapping[str, Any]:
        """The configuration as far as it is known before any work; empty for a model on the hub."""
        path = Path(self.weights).expanduser() / CONFIG
        try:
            document = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except (OSError, ValueError):
            return {}  # the stage that loads the model reports it
        return {**document, **document.get("text_config", {}), **self.kwargs}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        from stages.coreml.generation.fixed import FixedCache  # a module: it needs torch

        source = inputs["module"]
        before = Generation.read(source)
        module = FixedCache(source.live, self._length(before)).eval()
        generation = module.generation(before)
        proof = module.demand(generation, self.dims[SEQUENCE].max)
        interface = module.interface(self.dims[SEQUENCE], generation.vocabulary)
        drawn = {fills.FACT: {name: spec.fill for name, spec in interface.inputs.items()}}
        says = f"a cache of {self._length(before)} tokens, one text at a time; {proof}"
        return Artifact(
            Kind.MODULE,
            live=module,
            facts={**interface.facts, **generation.facts, **drawn},
            notes=Notes(says=says),
        )

    def _length(self, generation: Generation) -> int:
        """The length of the cache in tokens. Raises ConfigError for more than the model has positions."""
        most = generation.positions
        if self.length is None:
            return min(most, MOST)
        self._verify_length(self.length, most)
        return self.length

    def _verify_length(self, length: int, most: int) -> None:
        if length > most:
            raise ConfigError(
                f"generation.length is {length}, and the model has {most} positions",
                allowed=f"{most} at most",
                command=f"model.generation.length={most}",
            )
