"""Faults of a Core ML program's operations, and of what flows between them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.check.faults import arrays
from benchmarks.check.faults.coreml import graph
from benchmarks.check.faults.coreml.graph import Looked, Package
from benchmarks.check.faults.mutant import Mutant
from stages.coreml.mil.program import Operation

OTHERS = {
    "add": ("sub",), "sub": ("add",), "mul": ("real_div",), "real_div": ("mul",), "maximum": ("minimum",),
    "minimum": ("maximum",), "relu": ("sigmoid", "square"), "sigmoid": ("tanh", "relu"), "tanh": ("sigmoid", "erf"),
    "erf": ("tanh",), "silu": ("relu",), "exp": ("square",), "sqrt": ("abs",), "softsign": ("tanh",),
    "greater": ("greater_equal", "less"), "greater_equal": ("greater",), "less": ("less_equal",),
    "less_equal": ("less",),
    "equal": ("not_equal",), "logical_and": ("logical_or",), "reduce_mean": ("reduce_max", "reduce_sum"),
    "reduce_max": ("reduce_mean", "reduce_min"), "reduce_sum": ("reduce_mean",), "reduce_l2_norm": ("reduce_l1_norm",),
    "reduce_argmax": ("reduce_argmin",), "softplus": ("relu",), "floor_div": ("real_div",),
}  # fmt: skip
ORDERED = ("sub", "real_div", "matmul", "pow", "greater", "greater_equal", "less", "floor_div", "mod")
CUT = {"at ±5": (-5.0, 5.0), "below 0": (0.0, 3e38), "beyond 1": (-3e38, 1.0)}


def mutants(looked: Looked) -> Iterator[Mutant]:
    for operation in looked.computing():
        result = operation.outputs[0][0]
        where = f"{operation.type} {result}"
        yield from _left_out(looked, operation, where)
        for other in OTHERS.get(operation.type, ()):
            yield Mutant("another operator", f"{where} to {other}", _becoming(result, other))
        if operation.type in ORDERED:
            yield Mutant("inputs swapped", where, _swapping(result, "x", "y"))
        if operation.type == "select":
            yield Mutant("inputs swapped", where, _swapping(result, "a", "b"))
        if operation.type == "concat" and len(operation.inputs["values"]) > 1:
            yield Mutant("inputs swapped", where, _swapping_values(result))
        if operation.type in ("softmax", "sigmoid"):
            yield Mutant("unstable formula", where, _naive(operation))
        yield from _swapped_results(looked, operation, where)
    yield from _of_edges(looked)
    yield from _wrong_edges(looked)
    for i in range(len(looked.outputs) - 1):
        one, other = looked.outputs[i : i + 2]
        if looked.values[0][one].dtype == looked.values[0][other].dtype:
            yield Mutant("outputs swapped", f"'{one}' and '{other}'", _exchanging(one, other))


def _left_out(looked: Looked, operation: Operation, where: str) -> Iterator[Mutant]:
    result = operation.outputs[0][0]
    for parameter, bindings in operation.inputs.items():
        for bound in bindings:
            if isinstance(bound, str) and bound not in looked.constants and looked.is_like(bound, result):
                what = f"{where}, for its {parameter}"
                yield Mutant("operator dropped", what, _passing_on(result, bound))


def _passing_on(result: str, passed: str) -> Callable[[Package], None]:
    def apply(package: Package) -> None:
        operation = package.operation(result)
        at = list(package.block.operations).index(operation)
        like = graph.type_of(package, result)
        package.block.operations.remove(operation)
        graph.add(package, at, "identity", {"x": [passed]}, result, like)

    return apply


def _becoming(result: str, other: str) -> Callable[[Package], None]:
    def apply(package: Package) -> None:
        package.operation(result).type = other

    return apply


def _swapping(result: str, first: str, second: str) -> Callable[[Package], None]:
    def apply(package: Package) -> None:
        inputs = package.operation(result).inputs
        one, other = (type(inputs[n])() for n in (first, second))
        one.CopyFrom(inputs[first])
        other.CopyFrom(inputs[second])
        inputs[first].CopyFrom(other)
        inputs[second].CopyFrom(one)

    return apply


def _swapping_values(result: str) -> Callable[[Package], None]:
    def apply(package: Package) -> None:
        bound = package.operation(result).inputs["values"].arguments
        copies = [type(b)() for b in bound]
        for copy, b in zip(copies, bound, strict=True):
            copy.CopyFrom(b)
        bound[0].CopyFrom(copies[1])
        bound[1].CopyFrom(copies[0])

    return apply


def _swapped_results(looked: Looked, operation: Operation, where: str) -> Iterator[Mutant]:
    names = [name for name, _ in operation.outputs]
    for one, other in itertools.pairwise(names):
        if looked.is_like(one, other):
            yield Mutant("outputs swapped", f"{where}: {one} and {other}", _exchanging(one, other))


def _exchanging(one: str, other: str) -> Callable[[Package], None]:
    """What gives one gives the other; what uses them stays."""

    def apply(package: Package) -> None:
        swapped = {one: other, other: one}
        types = {n: graph.type_of(package, n) for n in swapped}
        old_types = {n: type(t).FromString(t.SerializeToString()) for n, t in types.items()}
        for operation in package.block.operations:
            for out in operation.outputs:
                if out.name in swapped:
                    out.type.CopyFrom(old_types[out.name])
                    out.name = swapped[out.name]
        users = [o for o in package.block.operations if not any(out.name in swapped for out in o.outputs)]
        for operation in users:
            for argument in operation.inputs.values():
                for bound in argument.arguments:
                    is_result = {one, other} <= set(package.block.outputs)
                    bound.name = swapped.get(bound.name, bound.name) if is_result else bound.name

    return apply


def _naive(operation: Operation) -> Callable[[Package], None]:
    """Softmax without the largest taken off first; e^x / (1 + e^x)."""
    result = operation.outputs[0][0]

    def apply(package: Package) -> None:
        old = package.operation(result)
        at = list(package.block.operations).index(old)
        x, like = old.inputs["x"].arguments[0].name, graph.type_of(package, result)
        axis = old.inputs["axis"].arguments[0].name if operation.type == "softmax" else ""
        package.block.operations.remove(old)
        graph.add(package, at, "exp", {"x": [x]}, "planted_exp", like)
        if axis:
            value = package.operation(axis).attributes["val"].immediateValue.tensor.ints.values[0]
            axes = graph.add_constant(package, "planted_axes", np.int32([value]))
            keep = graph.add_constant(package, "planted_keep", np.bool_(True))
            operands = {"x": ["planted_exp"], "axes": [axes], "keep_dims": [keep]}
            summed = _unknown_sizes(like)
            graph.add(package, at + 3, "reduce_sum", operands, "planted_sum", summed)
            graph.add(package, at + 4, "real_div", {"x": ["planted_exp"], "y": ["planted_sum"]}, result, like)
            return
        one = graph.add_constant(package, "planted_one", np.float32(1))
        graph.add(package, at + 2, "add", {"x": ["planted_exp"], "y": [one]}, "planted_more", like)
        graph.add(package, at + 3, "real_div", {"x": ["planted_exp"], "y": ["planted_more"]}, result, like)

    return apply


def _unknown_sizes(like: Any) -> Any:
    result = type(like).FromString(like.SerializeToString())
    for dimension in result.tensorType.dimensions:
        dimension.unknown.SetInParent()
    return result


def _of_edges(looked: Looked) -> Iterator[Mutant]:
    made_by = {o.outputs[0][0]: o.type for o in looked.computing()}
    for name, values in looked.values[0].items():
        spec = looked.subject.inputs.get(name)
        if name not in made_by and spec is None:
            continue
        if values.dtype == np.float32 and values.size:
            yield Mutant("narrowed type", f"'{name}' through float16", _through_half(name))
            limit = arrays.FLOAT16_MAX
            yield Mutant("clipped", f"'{name}' at float16's largest", _clipped(name, -limit, limit))
            for says, (least, largest) in CUT.items() if spec else ():
                yield Mutant("clipped", f"input '{name}' {says}", _clipped(name, least, largest))
            if made_by.get(name) == "relu":
                yield Mutant("clipped", f"'{name}' at 6", _clipped(name, 0.0, 6.0))
        elif values.dtype == np.bool_ and values.size > 1:
            yield Mutant("mask ignored", f"'{name}' all true", _same(name, "logical_or"))
            yield Mutant("mask ignored", f"'{name}' all false", _same(name, "logical_and"))
        elif spec and spec["fill"] == "mask":
            yield Mutant("mask ignored", f"{name} all ones", _ones(name))


def _through_half(name: str) -> Callable[[Package], None]:
    def apply(package: Package) -> None:
        like = graph.type_of(package, name)
        half = type(like).FromString(like.SerializeToString())
        half.tensorType.dataType = graph.tensor_type(like, "float16", ()).tensorType.dataType
        narrow, wide = (graph.add_constant(package, f"planted_{t}", t) for t in ("fp16", "fp32"))
        steps = [("cast", {"x": [name], "dtype": [narrow]}, "planted_narrow", half)]
        graph.insert(package, name, [*steps, ("cast", {"x": ["planted_narrow"], "dtype": [wide]}, "planted", like)])

    return apply


def _clipped(name: str, least: float, largest: float) -> Callable[[Package], None]:
    def apply(package: Package) -> None:
        ends = [graph.add_constant(package, f"planted_{i}", np.float32(v)) for i, v in enumerate((least, largest))]
        operands = {"x": [name], "alpha": ends[:1], "beta": ends[1:]}
        graph.insert(package, name, [("clip", operands, "planted", graph.type_of(package, name))])

    return apply


def _same(name: str, operator: str) -> Callable[[Package], None]:
    def apply(package: Package) -> None:
        like = graph.type_of(package, name)
        steps = [("logical_not", {"x": [name]}, "planted_not", like)]
        graph.insert(package, name, [*steps, (operator, {"x": [name], "y": ["planted_not"]}, "planted", like)])

    return apply


def _ones(name: str) -> Callable[[Package], None]:
    def apply(package: Package) -> None:
        like = graph.type_of(package, name)
        zero, one = (graph.add_constant(package, f"planted_{i}", np.int32(i)) for i in (0, 1))
        steps = [("mul", {"x": [name], "y": [zero]}, "planted_zeros", like)]
        graph.insert(package, name, [*steps, ("add", {"x": ["planted_zeros"], "y": [one]}, "planted", like)])

    return apply


def _wrong_edges(looked: Looked) -> Iterator[Mutant]:
    earlier: list[str] = []
    for operation in looked.computing():
        result = operation.outputs[0][0]
        for parameter, bindings in operation.inputs.items():
            for place, bound in enumerate(bindings):
                if not isinstance(bound, str) or bound in looked.constants:
                    continue
                for other in [e for e in earlier if e != bound and looked.is_like(e, bound)][-2:]:
                    what = f"{operation.type} {result}, {parameter} {place}: {other}"
                    yield Mutant("wrong edge", what, _taking(result, parameter, place, other))
        earlier.append(result)


def _taking(result: str, parameter: str, place: int, other: str) -> Callable[[Package], None]:
    return lambda package: graph.bind(package.operation(result), parameter, place, other)
