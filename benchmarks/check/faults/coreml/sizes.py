"""Core ML programs that are wrong at sizes in a relation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.check.faults import sizes
from benchmarks.check.faults.coreml import graph
from benchmarks.check.faults.coreml.graph import Looked, Package
from benchmarks.check.faults.mutant import Mutant
from benchmarks.check.faults.sizes import Relation, Term

COMPARED = {"<": "less", "=": "equal", ">": "greater"}


def mutants(looked: Looked) -> Iterator[Mutant]:
    floats = [n for n in looked.outputs if looked.values[0][n].dtype == np.float32]
    for number, relation in enumerate(sizes.relations(looked.subject)):
        yield Mutant("size relation", relation.says, _wrong_at(looked, relation, floats[number % len(floats)]))


def _wrong_at(looked: Looked, relation: Relation, edge: str) -> Callable[[Package], None]:
    ranks = {name: len(spec["shape"]) for name, spec in looked.subject.inputs.items()}
    axes = sizes.axes(looked.subject)

    def apply(package: Package) -> None:
        like = graph.type_of(package, edge)
        asking = _Asking(package, axes, ranks, like)
        truths = [asking.truth(term) for term in relation.terms]
        if len(truths) > 1:
            truths = [asking.add("logical_and", {"x": truths[:1], "y": truths[1:]}, asking.type("bool"))]
        factor = asking.constant(np.float32(sizes.WRONG))
        wrong = asking.add("mul", {"x": [edge], "y": [factor]}, like)
        asking.add("select", {"cond": truths, "a": [wrong], "b": [edge]}, like)
        graph.insert(package, edge, asking.steps)

    return apply


class _Asking:
    """Operations that find out whether sizes are in a relation.

    Args:
        package: The package, for constants.
        axes: Where each size can be read.
        ranks: Of the inputs.
        like: Any type message.
    """

    def __init__(self, package: Package, axes: dict[str, tuple[str, int]], ranks: dict[str, int], like: Any) -> None:
        self._package, self._axes, self._ranks, self._like = package, axes, ranks, like
        self.steps: list[tuple[str, dict[str, list[str]], str, Any]] = []

    def add(self, kind: str, inputs: dict[str, list[str]], result: Any) -> str:
        """The name of what an operation gives."""
        name = f"planted_step_{len(self.steps)}"
        self.steps.append((kind, inputs, name, result))
        return name

    def type(self, dtype: str, shape: Sequence[int] = ()) -> Any:
        return graph.tensor_type(self._like, dtype, shape)

    def constant(self, value: Any) -> str:
        return graph.add_constant(self._package, f"planted_{len(self._package.block.operations)}", value)

    def truth(self, term: Term) -> str:
        dim, how, than = term
        value = self._size(dim)
        if how == "mod 8":
            value = self.add("mod", {"x": [value], "y": [self._number(8)]}, self.type("int32"))
        operands = {"x": [value], "y": [self._number(than)]}
        return self.add(COMPARED.get(how, "equal"), operands, self.type("bool"))

    def _size(self, dim: str) -> str:
        name, axis = self._axes[dim]
        shape = self.add("shape", {"x": [name]}, self.type("int32", (self._ranks[name],)))
        operands = {"x": [shape], "indices": [self._number(axis)]}
        operands |= {"axis": [self._number(0)], "batch_dims": [self._number(0)]}
        operands |= {"validate_indices": [self.constant(np.bool_(False))]}
        return self.add("gather", operands, self.type("int32"))

    def _number(self, value: int | str) -> str:
        return self._size(value) if isinstance(value, str) else self.constant(np.int32(value))
