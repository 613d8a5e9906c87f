"""What a decoder is beside its interface: its cache, its vocabulary, and what decides when it stops.

`load_causal_lm` says it once, and it travels in the artifacts' facts: a cache is paired, a folder for a runtime is
written and tokens are compared by the same.
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
# What a cache holds: keys and values of all tokens; of a window of them; the last inputs of a convolution; a state.
ATTENTION, SLIDING, CONVOLUTION, STATE = "attention", "sliding", "conv", "ssm"


@dataclass(frozen=True)
class Cache:
    """An input that carries what was computed before, and the output that it comes from.

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
        cache: Its inputs and outputs that belong together, in the order of the inputs.
        vocabulary: How many tokens there are: the last dimension of logits.
        positions: How many tokens it can have seen at most.
        window: Of sliding attention, how many tokens; None for none.
        model_type: As its config.json says; empty for a class of the user's own.
        eos: Tokens that end a text.
        bos: The token that begins one, if any.
        pad: The token that fills up shorter rows of a batch, if any.
        layers: How many blocks there are.
        kv_heads: Heads of keys and values.
        head_dim: Numbers in each.
        heads: Heads of queries.
        hidden: Numbers that stand for a token between blocks.
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
        """What travels with an artifact."""
        return {FACT: {**asdict(self), "cache": [asdict(c) for c in self.cache], "eos": list(self.eos)}}

    @property
    def fills(self) -> int:
        """The token that fills up rows: its own, or any, since what is masked is not looked at."""
        return self.pad if self.pad is not None else next(iter(self.eos), 0)

    @classmethod
    def of(cls, artifact: Artifact) -> Generation:
        """What came with an artifact. Raises StageError where it is no decoder."""
        told: Mapping[str, Any] | None = artifact.facts.get(FACT)
        if told is None:
            raise StageError(
                f"this {artifact.kind} is no decoder with a cache: nothing says what belongs together",
                command="model=causal_lm",
            )
        return cls(**{**told, "cache": [Cache(**c) for c in told["cache"]]})


def facts_of(interface: Interface) -> dict[str, Any]:
    """What is known of a decoder of the user's own by its interface alone; nothing where it has no cache.

    Its logits are the output of that name, or the first that is no cache's.
    """
    taken = {name: spec for name, spec in interface.inputs.items() if is_cache(spec)}
    if not taken:
        return {}
    empty = {name for name, dim in interface.dims.items() if dim.min == 0}
    cache = []
    for name, spec in taken.items():
        axis = next((a for a, size in spec.axes.items() if size in empty), None)
        cache.append(Cache(name, str(spec.fill["cache"]), STATE if axis is None else ATTENTION, axis))
    others = [n for n in interface.outputs if n not in {c.output for c in cache}]
    logits = interface.outputs["logits" if "logits" in others else others[0]] if others else None
    grown = next((taken[c.input].shape for c in cache if c.axis is not None and len(taken[c.input].shape) == 4), None)
    heads, size = (int(n) if isinstance(n, int) else 0 for n in (grown[1], grown[3])) if grown else (0, 0)
    vocabulary = logits.shape[-1] if logits and isinstance(logits.shape[-1], int) else 0
    pairs = sum(c.kind == ATTENTION for c in cache) // 2
    made = Generation(cache, vocabulary, UNLIMITED, None, "", (), None, None, pairs, heads, size, 0, 0)
    return made.facts
