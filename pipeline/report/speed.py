"""What a benchmark came to: the artifact's latency, how it compares with eager PyTorch, and which runtime it is of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline import formats
from pipeline.notes import noise

EAGER = "eager"


def figures(benchmark: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a stage's note `benchmark`, as fields of a Job."""
    contenders = benchmark["contenders"]
    ours, eager = contenders[benchmark["artifact"]], contenders.get(EAGER)
    found = {"latency": ours["p50_ms"], "noise": noise(ours), "runtime": benchmark["artifact"]}
    if eager is None:
        return {**found, "speedup": None, "unclaimed": ""}
    why = [f"{name} {text}" for name, text in ((benchmark["artifact"], noise(ours)), (EAGER, noise(eager))) if text]
    return {**found, "speedup": None if why else _times_as_fast(ours, eager), "unclaimed": "; ".join(why)}


def _times_as_fast(ours: Mapping[str, Any], eager: Mapping[str, Any]) -> float:
    """By the tokens per second where a language model was measured, else by the latency."""
    if tokens := eager.get("decoding_tokens_per_second"):
        return float(ours["decoding_tokens_per_second"] / tokens)
    return float(eager["p50_ms"] / ours["p50_ms"])


def library(contender: str) -> str:
    """The library that runs a contender, which is called as the room of a format, or as a library."""
    for kind, (room, declared) in formats.all_formats().items():
        if declared.host and room.rpartition(".")[2] == contender:
            return str(formats.part(kind, "host").RUNTIME.module)
    return contender


def meant(target: str, contender: str) -> str:
    """The runtime that a target is for, where that is another than a contender's; else empty.

    A target is for the format whose name it has or begins with. One that hands over a graph from which its own format
    is built elsewhere is measured here by what runs that graph.
    """
    rooms = {room.rpartition(".")[2] for room, _ in formats.all_formats().values()}
    own = [room for room in rooms if f"{target}_".startswith(f"{room}_")]
    return own[0] if own and contender in rooms and contender not in own else ""
