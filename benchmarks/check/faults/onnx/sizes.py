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
WRONG = 1.05  # times what is right


def mutants(looked: Looked) -> Iterator[Mutant]:
    floats = [o.name for o in looked.model.graph.output if looked.seen[0][o.name].dtype == np.float32]
    for number, relation in enumerate(sizes.relations(looked.subject)):
        yield Mutant("size relation", relation.says, _wrong_at(looked, relation, floats[number % len(floats)]))


def _wrong_at(looked: Looked, relation: Relation, edge: str) -> Callable[[Any], None]:
    axes = {
        dim: (name, axis)
        for name, spec in looked.subject.inputs.items()
        for axis, dim in enumerate(spec["shape"])
        if isinstance(dim, str)
    }

    def apply(model: Any) -> None:
        nodes: list[Any] = []

        def size(dim: str) -> str:
            name, axis = axes[dim]
            found = f"planted_size_{dim}"
            if not any(found in n.output for n in nodes):
                place = graph.add_constant(model, f"planted_axis_{dim}", np.int64(axis))
                nodes.append(helper.make_node("Shape", [name], [f"planted_shape_{dim}"]))
                nodes.append(helper.make_node("Gather", [f"planted_shape_{dim}", place], [found]))
            return found

        def number(value: int | str) -> str:
            if isinstance(value, str):
                return size(value)
            name = f"planted_number_{value}"
            known = {t.name for t in model.graph.initializer}
            return name if name in known else graph.add_constant(model, name, np.int64(value))

        def truth(place: int, term: Term) -> str:
            dim, how, than = term
            value, operator = size(dim), COMPARED.get(how, "Equal")
            if how == "mod 8":
                nodes.append(helper.make_node("Mod", [value, number(8)], [f"planted_rest_{place}"]))
                value = f"planted_rest_{place}"
            nodes.append(helper.make_node(operator, [value, number(than)], [f"planted_truth_{place}"]))
            return f"planted_truth_{place}"

        truths = [truth(place, term) for place, term in enumerate(relation.terms)]
        if len(truths) > 1:
            nodes.append(helper.make_node("And", truths, ["planted_truth"]))
        factor = graph.add_constant(model, "planted_factor", np.float32(WRONG))
        nodes.append(helper.make_node("Mul", [edge, factor], ["planted_wrong"]))
        last = "planted_truth" if len(truths) > 1 else truths[0]
        nodes.append(helper.make_node("Where", [last, "planted_wrong", edge], ["planted_output"]))
        graph.insert(model, edge, nodes)

    return apply
