"""ONNX graphs that are wrong at sizes in a relation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from onnx import helper

from benchmarks.check.faults import sizes
from benchmarks.check.faults.mutant import Mutant
from benchmarks.check.faults.onnx import graph
from benchmarks.check.faults.onnx.graph import Looked
from benchmarks.check.faults.sizes import Relation, Term

COMPARED = {"<": "Less", "=": "Equal", ">": "Greater"}


def mutants(looked: Looked) -> Iterator[Mutant]:
    floats = [o.name for o in looked.model.graph.output if looked.values[0][o.name].dtype == np.float32]
    for number, relation in enumerate(sizes.relations(looked.subject)):
        yield Mutant("size relation", relation.says, _wrong_at(looked, relation, floats[number % len(floats)]))


def _wrong_at(looked: Looked, relation: Relation, edge: str) -> Callable[[Any], None]:
    axes = sizes.axes(looked.subject)

    def apply(model: Any) -> None:
        asking = _Asking(model, axes)
        truths = [asking.truth(term) for term in relation.terms]
        if len(truths) > 1:
            truths = [asking.add("And", truths)]
        factor = graph.add_constant(model, "planted_factor", np.float32(sizes.WRONG))
        wrong = asking.add("Mul", [edge, factor])
        asking.add("Where", [*truths, wrong, edge])
        graph.insert(model, edge, asking.nodes)

    return apply


class _Asking:
    """Nodes that find out whether sizes are in a relation.

    Args:
        model: The graph, for constants.
        axes: Where each size can be read.
    """

    def __init__(self, model: Any, axes: dict[str, tuple[str, int]]) -> None:
        self._model, self._axes = model, axes
        self.nodes: list[Any] = []

    def add(self, operator: str, inputs: list[str]) -> str:
        """The name of what a node gives."""
        name = f"planted_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name]))
        return name

    def truth(self, term: Term) -> str:
        dim, how, than = term
        value = self._size(dim)
        if how == "mod 8":
            value = self.add("Mod", [value, self._number(8)])
        return self.add(COMPARED.get(how, "Equal"), [value, self._number(than)])

    def _size(self, dim: str) -> str:
        name, axis = self._axes[dim]
        return self.add("Gather", [self.add("Shape", [name]), self._number(axis)])

    def _number(self, value: int | str) -> str:
        if isinstance(value, str):
            return self._size(value)
        name = f"planted_number_{len(self._model.graph.initializer)}"
        return graph.add_constant(self._model, name, np.int64(value))
