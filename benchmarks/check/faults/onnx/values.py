"""Faults of an ONNX graph's constants, one use at a time, and of sizes that were kept from the example."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.check.faults import arrays
from benchmarks.check.faults.mutant import Mutant
from benchmarks.check.faults.onnx import graph
from benchmarks.check.faults.onnx.graph import Looked

MOST_SIZES = 8  # elements of a vector that may be a shape


def mutants(looked: Looked) -> Iterator[Mutant]:
    for at, node in looked.nodes:
        for place, name in enumerate(node.input):
            if name in looked.constants:
                yield from _of_constant(looked.constants[name], at, place, f"{node.op_type} {at}, input {place}")
            elif name in looked.values[0]:
                yield from _frozen(looked, name, at, place, f"{node.op_type} {at}, input {place}")


def _of_constant(values: Any, at: int, place: int, where: str) -> Iterator[Mutant]:
    for kind, what, change in (*arrays.faults(where, values), *arrays.indices(values)):
        changed = np.ascontiguousarray(change(values)).astype(values.dtype).reshape(values.shape)
        if not np.array_equal(changed, values):
            yield Mutant(kind, f"{where}: {what}", _putting(changed, at, place))


def _frozen(looked: Looked, name: str, at: int, place: int, where: str) -> Iterator[Mutant]:
    """A computed size as it was at the example: the whole of a vector, or one of its elements."""
    example, other = (values_at.get(name) for values_at in looked.values)
    if example is None or example.dtype != np.int64 or example.size > MOST_SIZES or example.ndim > 1:
        return
    if other is None or example.shape != other.shape or np.array_equal(example, other):
        return
    yield Mutant("frozen size", where, _putting(example, at, place))


def _putting(values: Any, at: int, place: int) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        name = graph.add_constant(model, f"planted_{at}_{place}", values)
        model.graph.node[at].input[place] = name

    return apply
