"""Faults of an OpenVINO model's operations, and of what flows between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.check.faults import arrays
from benchmarks.check.faults.mutant import Mutant
from benchmarks.check.faults.openvino import graph
from benchmarks.check.faults.openvino.graph import Edge, Looked

BINARY = {
    "Add": ("subtract",), "Subtract": ("add",), "Multiply": ("divide",), "Divide": ("multiply",),
    "Maximum": ("minimum",), "Minimum": ("maximum",), "Greater": ("greater_equal", "less"),
    "GreaterEqual": ("greater",), "Less": ("less_equal",), "LessEqual": ("less",), "LogicalAnd": ("logical_or",),
    "LogicalOr": ("logical_and",), "FloorMod": ("mod",), "Power": ("multiply",),
}  # fmt: skip
UNARY = {
    "Relu": ("abs", "softplus", "hswish"), "Sigmoid": ("hsigmoid", "tanh"), "Tanh": ("sigmoid", "softsign", "erf"),
    "Exp": ("softplus",), "Sqrt": ("abs",), "SoftPlus": ("relu", "exp"), "HSwish": ("relu",), "Swish": ("hswish",),
    "Gelu": ("relu",), "Mish": ("hswish",), "Log": ("sqrt",), "Erf": ("tanh",), "Elu": ("relu",),
}  # fmt: skip
ORDERED = ("Subtract", "Divide", "MatMul", "Power", "Concat", "Greater", "GreaterEqual", "Less", "FloorMod")
CUT = {"at ±5": (-5.0, 5.0), "below 0": (0.0, 3e38), "beyond 1": (-3e38, 1.0)}


def mutants(looked: Looked) -> Iterator[Mutant]:
    for number, operation in looked.operations:
        kind = operation.get_type_name()
        where = f"{kind} {number}"
        yield from _left_out(looked, operation, number, where)
        for other in (*BINARY.get(kind, ()), *UNARY.get(kind, ())):
            yield Mutant("another operator", f"{where} to {other}", _becoming(number, other))
        if kind in ORDERED and operation.get_input_size() > 1:
            yield Mutant("inputs swapped", where, _swapping(number, 0))
        if kind == "Select":
            yield Mutant("inputs swapped", where, _swapping(number, 1))
        if kind in UNSTABLE:
            yield Mutant("unstable formula", where, _naive(number, kind, operation.get_attributes()))
    yield from _of_edges(looked)
    yield from _wrong_edges(looked)
    results = looked.model.get_results()
    for i in range(len(results) - 1):
        if results[i].get_element_type() == results[i + 1].get_element_type():
            yield Mutant("outputs swapped", f"{i} and {i + 1}", _exchanging(i))


def _left_out(looked: Looked, operation: Any, number: int, where: str) -> Iterator[Mutant]:
    for place in range(operation.get_input_size()):
        if looked.constant(operation, place) is None and looked.is_like(looked.source(operation, place), (number, 0)):
            what = f"{where}, for its input {place}"
            yield Mutant("operator dropped", what, lambda m, p=place: graph.replace(m, number, _identity(p)))


def _identity(place: int) -> Callable[[list[Any]], Any]:
    def make(operands: list[Any]) -> Any:
        from openvino import opset13

        return opset13.add(operands[place], _zero(operands[place])).output(0)

    return make


def _zero(output: Any) -> Any:
    from openvino import opset13

    return opset13.constant(np.zeros((), output.get_element_type().to_dtype()))


def _becoming(number: int, other: str) -> Callable[[Any], None]:
    def make(operands: list[Any]) -> Any:
        from openvino import opset13

        arity = 2 if any(other in names for names in BINARY.values()) else 1
        return getattr(opset13, other)(*operands[:arity]).output(0)

    return lambda model: graph.replace(model, number, make)


def _swapping(number: int, first: int) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        operation = graph.operations(model)[number]
        one, other = (operation.input_value(first + i) for i in range(2))
        operation.input(first).replace_source_output(other)
        operation.input(first + 1).replace_source_output(one)
        model.validate_nodes_and_infer_types()

    return apply


def _softmax(x: Any, attributes: dict[str, Any]) -> Any:
    from openvino import opset13

    exp = opset13.exp(x)
    return opset13.divide(exp, opset13.reduce_sum(exp, np.int64([attributes["axis"]]), keep_dims=True)).output(0)


def _sigmoid(x: Any, attributes: dict[str, Any]) -> Any:
    from openvino import opset13

    exp = opset13.exp(x)
    return opset13.divide(exp, opset13.add(exp, np.float32(1))).output(0)


def _softplus(x: Any, attributes: dict[str, Any]) -> Any:
    from openvino import opset13

    return opset13.log(opset13.add(opset13.exp(x), np.float32(1))).output(0)


def _log_softmax(x: Any, attributes: dict[str, Any]) -> Any:
    from openvino import opset13

    return opset13.log(opset13.softmax(x, attributes["axis"])).output(0)


UNSTABLE = {"Softmax": _softmax, "Sigmoid": _sigmoid, "SoftPlus": _softplus, "LogSoftmax": _log_softmax}


def _naive(number: int, kind: str, attributes: dict[str, Any]) -> Callable[[Any], None]:
    return lambda model: graph.replace(model, number, lambda operands: UNSTABLE[kind](operands[0], attributes))


def _of_edges(looked: Looked) -> Iterator[Mutant]:
    names = dict(enumerate(o.get_type_name() for o in graph.operations(looked.model)))
    inputs = {looked.places[p.get_friendly_name()]: p.output(0).get_any_name() for p in looked.model.get_parameters()}
    for edge, values in looked.values[0].items():
        where = f"{names[edge[0]]} {edge[0]}"
        if values.dtype == np.float32 and values.size:
            for name in ("f16", "bf16"):
                yield Mutant("narrowed type", f"{where} through {name}", _through(edge, name))
            limit = arrays.FLOAT16_MAX
            yield Mutant("clipped", f"{where} at float16's largest", _clipped(edge, -limit, limit))
            for says, (least, largest) in CUT.items() if edge[0] in inputs else ():
                yield Mutant("clipped", f"input '{inputs[edge[0]]}' {says}", _clipped(edge, least, largest))
            if names[edge[0]] == "Relu":
                yield Mutant("clipped", f"{where} at 6", _clipped(edge, 0.0, 6.0))
        elif values.dtype == np.bool_ and values.size > 1:
            yield Mutant("mask ignored", f"{where} all true", _same(edge, "logical_or"))
            yield Mutant("mask ignored", f"{where} all false", _same(edge, "logical_and"))
        elif edge[0] in inputs and looked.subject.inputs[inputs[edge[0]]]["fill"] == "mask":
            yield Mutant("mask ignored", f"{inputs[edge[0]]} all ones", _ones(edge))


def _through(edge: Edge, name: str) -> Callable[[Any], None]:
    def make(output: Any) -> Any:
        from openvino import opset13

        return opset13.convert(opset13.convert(output, name), "f32").output(0)

    return lambda model: graph.insert(model, edge, make)


def _clipped(edge: Edge, least: float, largest: float) -> Callable[[Any], None]:
    def make(output: Any) -> Any:
        from openvino import opset13

        return opset13.clamp(output, least, largest).output(0)

    return lambda model: graph.insert(model, edge, make)


def _same(edge: Edge, operator: str) -> Callable[[Any], None]:
    def make(output: Any) -> Any:
        from openvino import opset13

        return getattr(opset13, operator)(output, opset13.logical_not(output)).output(0)

    return lambda model: graph.insert(model, edge, make)


def _ones(edge: Edge) -> Callable[[Any], None]:
    def make(output: Any) -> Any:
        from openvino import opset13

        return opset13.add(opset13.multiply(output, np.int64(0)), np.int64(1)).output(0)

    return lambda model: graph.insert(model, edge, make)


def _wrong_edges(looked: Looked) -> Iterator[Mutant]:
    earlier: list[Edge] = []
    for number, operation in looked.operations:
        for place in range(operation.get_input_size()):
            now = looked.source(operation, place)
            for other in [e for e in earlier if e != now and looked.is_like(e, now)][-2:]:
                what = f"{operation.get_type_name()} {number}, input {place}: output {other[1]} of {other[0]}"
                yield Mutant("wrong edge", what, _taking(number, place, other))
        earlier.append((number, 0))


def _taking(number: int, place: int, other: Edge) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        source = graph.operations(model)[other[0]].output(other[1])
        graph.take(model, number, place, source)

    return apply


def _exchanging(first: int) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        one, other = model.get_results()[first], model.get_results()[first + 1]
        sources, names = [r.input_value(0) for r in (one, other)], [r.input_value(0).get_names() for r in (one, other)]
        one.input(0).replace_source_output(sources[1])
        other.input(0).replace_source_output(sources[0])
        sources[1].get_tensor().set_names(names[0])
        sources[0].get_tensor().set_names(names[1])
        model.validate_nodes_and_infer_types()

    return apply
