"""Faults of ONNX operators: one left out, another in its place, a formula that overflows, a mask ignored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from onnx import helper

from benchmarks.check.faults.mutant import Mutant
from benchmarks.check.faults.onnx import graph
from benchmarks.check.faults.onnx.graph import Looked

OTHERS: dict[str, tuple[str, ...]] = {
    "Add": ("Sub",), "Sub": ("Add",), "Mul": ("Div",), "Div": ("Mul",), "Max": ("Min",), "Min": ("Max",),
    "Relu": ("LeakyRelu", "Abs", "Softplus", "Elu"), "LeakyRelu": ("Relu",), "Elu": ("Relu", "Selu"),
    "PRelu": (), "Sigmoid": ("HardSigmoid", "Tanh"), "HardSigmoid": ("Sigmoid",), "HardSwish": ("Relu",),
    "Tanh": ("Sigmoid", "Softsign", "Erf"), "Erf": ("Tanh",), "Gelu": ("Relu",), "Softplus": ("Relu", "Exp"),
    "Mish": ("HardSwish",), "Softmax": ("LogSoftmax", "Hardmax"), "LogSoftmax": ("Softmax",),
    "Exp": ("Softplus",), "Log": ("Identity",), "Sqrt": ("Abs",), "Abs": ("Identity",), "Floor": ("Ceil", "Round"),
    "ReduceMean": ("ReduceMax", "ReduceSum"), "ReduceMax": ("ReduceMean", "ReduceMin"), "ReduceSum": ("ReduceMean",),
    "ReduceL2": ("ReduceL1",), "GlobalAveragePool": ("GlobalMaxPool",), "MaxPool": ("AveragePool",),
    "AveragePool": ("MaxPool",), "ArgMax": ("ArgMin",), "And": ("Or",), "Or": ("And",),
    "Greater": ("GreaterOrEqual", "Less"), "GreaterOrEqual": ("Greater",), "Less": ("LessOrEqual", "Greater"),
    "LessOrEqual": ("Less",), "Equal": ("GreaterOrEqual",), "Reciprocal": ("Identity",),
}  # fmt: skip
# Operators that have an attribute of the one that they take the place of.
KEEP = {"LogSoftmax": ("axis",), "Softmax": ("axis",), "Hardmax": ("axis",), "ArgMin": ("axis", "keepdims")}
REDUCING = ("ReduceMax", "ReduceMean", "ReduceSum", "ReduceMin", "ReduceL1")
KEEP |= dict.fromkeys(REDUCING, ("keepdims", "noop_with_empty_axes", "axes"))
POOLS = ("kernel_shape", "pads", "strides", "ceil_mode")
KEEP |= {"MaxPool": POOLS, "AveragePool": POOLS}


def mutants(looked: Looked) -> Iterator[Mutant]:
    for at, node in looked.nodes:
        yield from _left_out(looked, at, node)
        for other in OTHERS.get(node.op_type, ()):
            if len(node.output) == 1 and node.output[0] in looked.values[0]:
                yield Mutant("another operator", f"{node.op_type} {at} to {other}", _becoming(at, other))
        if node.op_type in UNSTABLE and looked.values[0].get(node.output[0], np.zeros(0)).dtype == np.float32:
            yield Mutant("unstable formula", f"{node.op_type} {at}", _naive(at))
        if node.op_type == "Relu":
            yield Mutant("clipped", f"Relu {at} at 6", _clip_after(at, node.output[0], 0.0, 6.0))
        if node.op_type == "Clip":
            for place, name in ((1, "least"), (2, "largest")):
                if len(node.input) > place and node.input[place]:
                    yield Mutant("operator dropped", f"Clip {at}: its {name}", _without(at, place))
    yield from _masks(looked)


def _left_out(looked: Looked, at: int, node: Any) -> Iterator[Mutant]:
    if not node.output or node.op_type == "Identity":
        return
    for place, name in enumerate(node.input):
        if name and name not in looked.constants and looked.is_like(name, node.output[0]):
            what = f"{node.op_type} {at}, for its input {place}"
            yield Mutant("operator dropped", what, _bypassing(at, name))


def _bypassing(at: int, passed: str) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        node = model.graph.node[at]
        result = node.output[0]
        model.graph.node.remove(node)
        model.graph.node.insert(at, helper.make_node("Identity", [passed], [result]))

    return apply


def _becoming(at: int, other: str) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        node = model.graph.node[at]
        node.op_type = other
        attributes = [a for a in node.attribute if a.name in KEEP.get(other, ())]
        del node.attribute[:]
        node.attribute.extend(attributes)

    return apply


def _without(at: int, place: int) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        model.graph.node[at].input[place] = ""

    return apply


def _clip_after(at: int, edge: str, least: float, largest: float) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        ends = [graph.add_constant(model, f"planted_{at}_{v}", np.float32(v)) for v in (least, largest)]
        graph.insert(model, edge, [helper.make_node("Clip", [edge, *ends], [f"{edge}__clipped"])])

    return apply


def _softmax(node: Any) -> list[Any]:
    """Without the largest taken off first."""
    x, axis = node.input[0], graph.attribute(node, "axis", -1)
    return [
        helper.make_node("Exp", [x], ["planted_exp"]),
        helper.make_node("ReduceSum", ["planted_exp", "planted_axes"], ["planted_sum"], keepdims=1),
        helper.make_node("Constant", [], ["planted_axes"], value_ints=[axis]),
        helper.make_node("Div", ["planted_exp", "planted_sum"], [node.output[0]]),
    ]


def _log_softmax(node: Any) -> list[Any]:
    axis = graph.attribute(node, "axis", -1)
    return [
        helper.make_node("Softmax", [node.input[0]], ["planted_softmax"], axis=axis),
        helper.make_node("Log", ["planted_softmax"], [node.output[0]]),
    ]


def _sigmoid(node: Any) -> list[Any]:
    """e^x / (1 + e^x)."""
    return [
        helper.make_node("Exp", [node.input[0]], ["planted_exp"]),
        helper.make_node("Constant", [], ["planted_one"], value_float=1.0),
        helper.make_node("Add", ["planted_exp", "planted_one"], ["planted_more"]),
        helper.make_node("Div", ["planted_exp", "planted_more"], [node.output[0]]),
    ]


def _softplus(node: Any) -> list[Any]:
    """log(1 + e^x)."""
    *exp, _ = _sigmoid(node)
    return [*exp, helper.make_node("Log", ["planted_more"], [node.output[0]])]


UNSTABLE: dict[str, Callable[[Any], list[Any]]] = {
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "Sigmoid": _sigmoid,
    "Softplus": _softplus,
}


def _naive(at: int) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        node = model.graph.node[at]
        result = sorted(UNSTABLE[node.op_type](node), key=lambda n: n.op_type != "Constant")
        model.graph.node.remove(node)
        for step, new in enumerate(result):
            model.graph.node.insert(at + step, new)

    return apply


def _masks(looked: Looked) -> Iterator[Mutant]:
    """Of truths inside, all the same; of an input that is a mask, all on, or its first so many."""
    for name, values in looked.values[0].items():
        if values.dtype == np.bool_ and values.size > 1 and name not in looked.constants:
            yield Mutant("mask ignored", f"'{name}' all true", _joined(name, "Or"))
            yield Mutant("mask ignored", f"'{name}' all false", _joined(name, "And"))
    for name, spec in looked.subject.inputs.items():
        if spec["fill"] == "mask":
            yield Mutant("mask ignored", f"{name} all ones", _all_ones(name))
            yield Mutant("mask ignored", f"{name} taken for a length", _as_length(name))


def _joined(edge: str, operator: str) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        nodes = [helper.make_node("Not", [edge], ["planted_not"])]
        graph.insert(model, edge, [*nodes, helper.make_node(operator, [edge, "planted_not"], ["planted_mask"])])

    return apply


def _all_ones(edge: str) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        zero, one = (graph.add_constant(model, f"planted_{n}", np.int64(n)) for n in (0, 1))
        nodes = [helper.make_node("Mul", [edge, zero], ["planted_zeros"])]
        graph.insert(model, edge, [*nodes, helper.make_node("Add", ["planted_zeros", one], ["planted_ones"])])

    return apply


def _as_length(edge: str) -> Callable[[Any], None]:
    """As runtimes do that are given how many tokens there are in place of which."""

    def apply(model: Any) -> None:
        zero, one = (graph.add_constant(model, f"planted_{n}", np.int64(n)) for n in (0, 1))
        last = graph.add_constant(model, "planted_last", np.array([-1], np.int64))
        nodes = [
            helper.make_node("Mul", [edge, zero], ["planted_zeros"]),
            helper.make_node("Add", ["planted_zeros", one], ["planted_ones"]),
            helper.make_node("CumSum", ["planted_ones", one], ["planted_place"]),
            helper.make_node("ReduceSum", [edge, last], ["planted_length"], keepdims=1),
            helper.make_node("LessOrEqual", ["planted_place", "planted_length"], ["planted_seen"]),
            helper.make_node("Cast", ["planted_seen"], ["planted_mask"], to=7),
        ]
        graph.insert(model, edge, nodes)

    return apply
