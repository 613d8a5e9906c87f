"""A decoder's properties besides its interface: its cache, its vocabulary, and the tokens at which it stops.

`load_causal_lm` states them once, and they travel in the artifacts' facts: pairing a cache, writing a runtime's folder
and comparing tokens all use them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from stages.interface.interface import Interface, is_cache

FACT = "generation"
UNLIMITED = 2**31 - 1  # positions of a model that has no table of them
# Kinds of cache: keys and values of all tokens; of a window of them; the last inputs of a convolution; a state.
ATTENTION, SLIDING, CONVOLUTION, STATE = "attention", "sliding", "conv", "ssm"


@dataclass(frozen=True)
class Cache:
    """An input with the results of earlier calls, and the output that they come from.

    Args:
        input: Its name, such as past_key_values.0.key.
        output: The output's, such as present.0.key.
        kind: ATTENTION, SLIDING, CONVOLUTION or STATE.
        axis: The axis that grows with each token; None where none does.
    """

    input: str
    output: str
    kind: str
    axis: int | None


@dataclass(frozen=True)
class Generation:
    """A decoder.

    Args:
        cache: The pairs of inputs and outputs that are the cache, in the order of the inputs.
        vocabulary: How many tokens there are: the last dimension of logits.
        positions: The largest number of tokens in a text.
        window: The number of tokens in sliding attention; None for none.
        model_type: As its config.json says; empty for a class of the user's own.
        eos: Tokens that end a text.
        bos: The token that begins one, if any.
        pad: The token that fills up shorter rows of a batch, if any.
        layers: How many blocks there are.
        kv_heads: Heads of keys and values.
        head_dim: Numbers in each.
        heads: Heads of queries.
        hidden: Numbers per token between blocks.
    """

    cache: Sequence[Cache]
    vocabulary: int
    positions: int
    window: int | None
    model_type: str
    eos: Sequence[int]
    bos: int | None
    pad: int | None
    layers: int
    kv_heads: int
    head_dim: int
    heads: int
    hidden: int

    @property
    def facts(self) -> dict[str, Any]:
        """The facts of an artifact."""
        return {FACT: {**asdict(self), "cache": [asdict(c) for c in self.cache], "eos": list(self.eos)}}

    @property
    def fills(self) -> int:
        """The token that fills up rows: the padding token, or any, since masked tokens are ignored."""
        return self.pad if self.pad is not None else next(iter(self.eos), 0)

    @classmethod
    def read(cls, artifact: Artifact) -> Generation:
        """Reads an artifact's facts. Raises StageError where it is no decoder."""
        facts: Mapping[str, Any] | None = artifact.facts.get(FACT)
        if facts is None:
            raise StageError(
                f"this {artifact.kind} is no decoder with a cache: nothing says what belongs together",
                command="model=causal_lm",
            )
        return cls(**{**facts, "cache": [Cache(**c) for c in facts["cache"]]})


def facts_of(interface: Interface) -> dict[str, Any]:
    """The facts that follow from the interface of a user's own decoder; none where it has no cache.

    Its logits are the output of that name, or the first output that is no cache.
    """
    caches = {name: spec for name, spec in interface.inputs.items() if is_cache(spec)}
    if not caches:
        return {}
    empty = {name for name, dim in interface.dims.items() if dim.min == 0}
    cache = []
    for name, spec in caches.items():
        axis = next((a for a, size in spec.axes.items() if size in empty), None)
        cache.append(Cache(name, str(spec.fill["cache"]), STATE if axis is None else ATTENTION, axis))
    others = [n for n in interface.outputs if n not in {c.output for c in cache}]
    logits = interface.outputs["logits" if "logits" in others else others[0]] if others else None
    grown = next((caches[c.input].shape for c in cache if c.axis is not None and len(caches[c.input].shape) == 4), None)
    heads, size = (int(n) if isinstance(n, int) else 0 for n in (grown[1], grown[3])) if grown else (0, 0)
    vocabulary = logits.shape[-1] if logits and isinstance(logits.shape[-1], int) else 0
    pairs = sum(c.kind == ATTENTION for c in cache) // 2
    generation = Generation(cache, vocabulary, UNLIMITED, None, "", (), None, None, pairs, heads, size, 0, 0)
    return generation.facts
