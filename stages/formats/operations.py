"""The operations of a graph, to be drawn: weights, and values computed from weights alone, belong to their users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

CONSTANT, INPUT, OUTPUT = "constant", "input", "output"
LONGEST = 80  # characters of an attribute


@dataclass(frozen=True)
class Operation:
    """One operation, input or output of a graph.

    Args:
        name: Its name, unique in the graph.
        type: By the format's own name; INPUT, OUTPUT or CONSTANT.
        sources: The names of those that feed it.
        gives: Type and shape of its first output, such as "float32[?, 64]"; empty where the file does not say.
        attributes: Name to value, as text.
    """

    name: str
    type: str
    sources: Sequence[str]
    gives: str = ""
    attributes: Mapping[str, str] | None = None


def without_constants(operations: Iterable[Operation]) -> list[Operation]:
    """The operations that depend on an input; what they take of the others becomes attributes of theirs.

    Args:
        operations: Each after those that feed it.
    """
    constants: dict[str, Operation] = {}
    kept = []
    for one in operations:
        computed = one.sources and all(source in constants for source in one.sources)
        if one.type == CONSTANT or (computed and one.type != OUTPUT):
            constants[one.name] = one
            continue
        taken = {f"operand {i}": _said(constants[s]) for i, s in enumerate(one.sources) if s in constants}
        sources = [s for s in dict.fromkeys(one.sources) if s not in constants]
        kept.append(replace(one, sources=sources, attributes={**(one.attributes or {}), **taken}))
    return kept


def _said(constant: Operation) -> str:
    made = "" if constant.type == CONSTANT else f", by {constant.type}"
    return f"{constant.name}: {constant.gives}{made}"


def typed(dtype: str, shape: Sequence[Any] | None) -> str:
    """A type and a shape in words, such as "float32[?, 64]"; None stands for an unknown size, or shape."""
    sizes = "…" if shape is None else ", ".join("?" if size is None else str(size) for size in shape)
    return f"{dtype}[{sizes}]"


def short(value: Any) -> str:
    """An attribute's value as text that is not too long."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
