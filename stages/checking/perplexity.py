"""Measures a delivered language model's perplexity beside the PyTorch model's, and fails when it is too far off."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Optional

from pipeline import formats
from pipeline.artifact import Artifact, Kind
from pipeline.errors import CheckFailed
from pipeline.notes import Perplexity as Measured
from pipeline.stage import AtLeast, Stage
from stages.checking import blame as layer_blame
from stages.formats import session
from stages.formats.extensions import Extensions
from stages.formats.running import COMPUTE
from stages.formats.session import How
from stages.generation import folders
from stages.generation import texts as text_files
from stages.generation.format import TEXTS
from stages.interface.generation import Generation
from stages.interface.interface import Interface

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

GRAPHS = formats.kinds("values")  # what layers can be compared in


@dataclass(frozen=True)
class Perplexity(Stage):
    """Perplexity, KL and top-1 agreement of the delivered graph; `max_ratio` is a gate.

    Its own runtime gives tokens and no logits. So our own loop runs the same graph, the second half of each text on the
    cache of the first half. The artifact passes through unchanged.

    Args:
        max_ratio: The largest perplexity, as a multiple of the PyTorch model's; None only measures.
        compute: The type that the graph must compute in; set and read back.
        properties: The runtime's own settings by its own names, such as KV_CACHE_PRECISION; each is read back.
        extensions: Operations that the runtime does not have by itself.
        blame: Whether to look for the layers that cause the error even where the gate passes.
    """

    # OmegaConf 2.3 reads Optional, not X | None.
    max_ratio: Annotated[Optional[float], AtLeast(1, "1 or more: 1.05 for 5 % more perplexity than the model's")]
    compute: Annotated[str, COMPUTE]
    properties: dict[str, str]
    extensions: Annotated[list[str], Extensions()]
    blame: bool

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "artifact": formats.kinds("generation"),
        "texts": frozenset({TEXTS}),
        "graph": GRAPHS,
    }
    optional: ClassVar[frozenset[str]] = frozenset({"graph"})
    produces: ClassVar[Kind | str] = "artifact"
    requires: ClassVar[tuple[str, ...]] = ("numpy", "safetensors")
    native_to: ClassVar[tuple[str, ...]] = ("processor",)
    isolable: ClassVar[bool] = True

    def modules(self, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
        takes = formats.part(kinds["artifact"], "generation").REQUIRES if "artifact" in kinds else ()
        return tuple(sorted({*super().modules(kinds), *takes}))

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        artifact, texts = inputs["artifact"], text_files.read(inputs["texts"])
        about = inputs["texts"].facts[text_files.FACT]
        running = folders.loop(artifact, How(self.compute, None, self.properties, self.extensions))
        session.must_compute_in(self.compute, running.computes_in)
        compared = text_files.compared(running, texts, about["vocabulary"])
        count = texts.likely.size
        says = (
            f"{compared.value:.4g}, {compared.ratio:.4f} times the PyTorch model's {compared.of_the_model:.4g}; "
            f"KL {compared.kl:.1e}, the same first choice at {compared.agreement:.1%}, of {count:,} tokens: "
            f"{about['from']}"
        )
        is_number = math.isfinite(compared.value) and math.isfinite(compared.kl)
        fails = not is_number or (self.max_ratio is not None and compared.ratio > self.max_ratio)
        blamed = self._blamed(inputs, texts.tokens) if self.blame or fails else None
        if fails:
            raise CheckFailed(
                says + (blamed.sentence if blamed else ""),
                allowed="numbers" if self.max_ratio is None else f"{self.max_ratio:g} times the model's at most",
                command=blamed.command if blamed else "another precision, or stages.perplexity.max_ratio=…",
            )
        measured = Measured(
            value=compared.value,
            of_the_model=compared.of_the_model,
            ratio=compared.ratio,
            max_ratio=self.max_ratio,
            kl=compared.kl,
            agreement=compared.agreement,
            tokens=count,
            texts=about["from"],
            computes_in=running.computes_in,
            properties=dict(running.properties),
        )
        claimed = {"texts": about["from"], "tokens": count, "max_ratio": self.max_ratio, "compute": self.compute}
        notes = layer_blame.BlameNotes(says=says, perplexity=measured, claims={"perplexity": claimed})
        if blamed:
            notes.update(blamed.notes)
        return replace(artifact, notes=notes)

    def _blamed(self, inputs: Mapping[str, Artifact], tokens: Array) -> layer_blame.Blamed | None:
        if "graph" not in inputs:
            return None
        graph = inputs["graph"]
        arrays = _prompts(Interface.read(graph), Generation.read(graph), tokens)
        return layer_blame.layers(graph, arrays, self.compute, self.extensions, output="logits")


def _prompts(interface: Interface, generation: Generation, tokens: Array) -> dict[str, Array]:
    """A graph's inputs for the first call on texts, with an empty cache; as many and as long as the graph takes."""
    import numpy as np

    most = {name: dim.max for name, dim in interface.dims.items()}
    ends = interface.inputs["input_ids"].at(most)
    tokens = np.ascontiguousarray(tokens[: ends[0], : ends[1]])
    rows, length = tokens.shape
    places = np.broadcast_to(np.arange(length), tokens.shape).copy()
    arrays = {"input_ids": tokens, "attention_mask": np.ones_like(tokens), "position_ids": places}
    for cache in generation.cache:
        spec = interface.inputs[cache.input]
        sizes = [0 if axis == cache.axis else size for axis, size in enumerate(spec.at(most))][1:]
        arrays[cache.input] = np.zeros([rows, *sizes], spec.dtype)
    return {name: arrays[name] for name in interface.inputs}
