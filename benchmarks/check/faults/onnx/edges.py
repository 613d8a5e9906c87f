"""Faults between ONNX operators: a type that holds less, a range that is cut, operands and outputs mixed up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from benchmarks.check.faults import arrays
from benchmarks.check.faults.mutant import Mutant
from benchmarks.check.faults.onnx import graph
from benchmarks.check.faults.onnx.graph import Looked

TYPES = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
ORDERED = ("Sub", "Div", "MatMul", "Concat", "Pow", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Mod")
# Of inputs: what of them is lost.
CUT = {"at ±5": (-5, 5), "below 0": (0, 3e38), "beyond 1": (-3e38, 1)}


def mutants(looked: Looked) -> Iterator[Mutant]:
    for edge in looked.floats():
        for name in TYPES:
            yield Mutant("narrowed type", f"'{edge}' through {name}", _through(edge, name))
        limit = arrays.FLOAT16_MAX
        yield Mutant("clipped", f"'{edge}' at float16's largest", _clipped(edge, -limit, limit))
    for name, spec in looked.subject.inputs.items():
        if spec["dtype"] == "float32":
            for says, (least, largest) in CUT.items():
                yield Mutant("clipped", f"input '{name}' {says}", _clipped(name, least, largest))
    yield from _swapped_inputs(looked)
    yield from _swapped_outputs(looked)
    yield from _wrong_edges(looked)


def _through(edge: str, name: str) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        narrow = helper.make_node("Cast", [edge], ["planted_narrow"], to=TYPES[name])
        wide = helper.make_node("Cast", ["planted_narrow"], ["planted_wide"], to=TensorProto.FLOAT)
        graph.insert(model, edge, [narrow, wide])

    return apply


def _clipped(edge: str, least: float, largest: float) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        ends = [graph.add_constant(model, f"planted_{n}", np.float32(v)) for n, v in enumerate((least, largest))]
        graph.insert(model, edge, [helper.make_node("Clip", [edge, *ends], ["planted_clipped"])])

    return apply


def _swapped_inputs(looked: Looked) -> Iterator[Mutant]:
    for at, node in looked.nodes:
        first = 1 if node.op_type == "Where" else 0
        if node.op_type in (*ORDERED, "Where") and len(node.input) >= first + 2:
            yield Mutant("inputs swapped", f"{node.op_type} {at}", _swapping(at, first))


def _swapping(at: int, first: int) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        names = model.graph.node[at].input
        names[first], names[first + 1] = names[first + 1], names[first]

    return apply


def _swapped_outputs(looked: Looked) -> Iterator[Mutant]:
    outputs = [o.name for o in looked.model.graph.output]
    for i, one in enumerate(outputs):
        for other in outputs[i + 1 :]:
            if looked.values[0][one].dtype == looked.values[0][other].dtype:
                yield Mutant("outputs swapped", f"'{one}' and '{other}'", _exchanging(one, other))
        if len(outputs) > 1:
            other = outputs[i - 1]
            if looked.is_like(one, other):
                yield Mutant("outputs swapped", f"'{one}' is '{other}'", _aliasing(one, other))
    for at, node in looked.nodes:
        for i in range(len(node.output) - 1):
            if looked.is_like(node.output[i], node.output[i + 1]):
                yield Mutant("outputs swapped", f"{node.op_type} {at}, {i} and {i + 1}", _swapping_outputs(at, i))


def _exchanging(one: str, other: str) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        swapped = {one: other, other: one}
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = [swapped.get(n, n) for n in names]

    return apply


def _aliasing(one: str, other: str) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = [f"{n}__right" if n == one else n for n in names]
        model.graph.node.append(helper.make_node("Identity", [other], [one]))

    return apply


def _swapping_outputs(at: int, first: int) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        names = model.graph.node[at].output
        names[first], names[first + 1] = names[first + 1], names[first]

    return apply


def _wrong_edges(looked: Looked) -> Iterator[Mutant]:
    """An operand that is another value of the same shape, from before."""
    earlier: list[str] = list(looked.subject.inputs)
    for at, node in looked.nodes:
        for place, name in enumerate(node.input):
            alike = [e for e in earlier if e != name and name not in looked.constants and looked.is_like(e, name)]
            for other in alike[-2:]:
                yield Mutant("wrong edge", f"{node.op_type} {at}, input {place}: '{other}'", _taking(at, place, other))
        earlier += node.output


def _taking(at: int, place: int, other: str) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        model.graph.node[at].input[place] = other

    return apply
