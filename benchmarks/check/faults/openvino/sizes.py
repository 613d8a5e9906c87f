"""OpenVINO models that are wrong at sizes in a relation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.check.faults import sizes
from benchmarks.check.faults.mutant import Mutant
from benchmarks.check.faults.openvino import graph
from benchmarks.check.faults.openvino.graph import Edge, Looked
from benchmarks.check.faults.sizes import Relation


def mutants(looked: Looked) -> Iterator[Mutant]:
    results = [r for r in looked.model.get_results() if r.get_element_type().to_string() == "f32"]
    for number, relation in enumerate(sizes.relations(looked.subject)):
        edge = looked.source(results[number % len(results)], 0)
        yield Mutant("size relation", relation.says, _wrong_at(looked, relation, edge))


def _wrong_at(looked: Looked, relation: Relation, edge: Edge) -> Callable[[Any], None]:
    axes = sizes.axes(looked.subject)

    def apply(model: Any) -> None:
        from openvino import opset13

        def size(dim: int | str) -> Any:
            if not isinstance(dim, str):
                return opset13.constant(np.int64(dim))
            name, axis = axes[dim]
            return opset13.gather(opset13.shape_of(model.input(name)), np.int64(axis), np.int64(0))

        def truth(dim: str, how: str, than: int | str) -> Any:
            value = opset13.mod(size(dim), np.int64(8)) if how == "mod 8" else size(dim)
            compare = {"<": opset13.less, ">": opset13.greater}.get(how, opset13.equal)
            return compare(value, size(than))

        def make(output: Any) -> Any:
            truths = [truth(*term) for term in relation.terms]
            at = truths[0] if len(truths) == 1 else opset13.logical_and(*truths)
            return opset13.select(at, opset13.multiply(output, np.float32(sizes.WRONG)), output).output(0)

        graph.insert(model, edge, make)

    return apply
