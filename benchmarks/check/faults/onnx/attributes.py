"""Faults of the attributes of ONNX nodes: axes, padding, modes, epsilons; of those left to their defaults, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.check.faults.mutant import Mutant
from benchmarks.check.faults.onnx import graph
from benchmarks.check.faults.onnx.graph import Looked

# By operator and attribute: what is reported, what it is by default, and what a converter could have written.
CHOICES: dict[tuple[str, str], tuple[str, Any, tuple[Any, ...]]] = {
    ("Resize", "coordinate_transformation_mode"): (
        *("mode", "half_pixel"),
        ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"),
    ),
    ("Resize", "nearest_mode"): ("mode", "round_prefer_floor", ("floor", "ceil", "round_prefer_floor")),
    ("Resize", "mode"): ("mode", "nearest", ("nearest", "linear", "cubic")),
    ("Pad", "mode"): ("mode", "constant", ("constant", "edge", "reflect")),
    ("Gelu", "approximate"): ("mode", "none", ("none", "tanh")),
    ("DepthToSpace", "mode"): ("mode", "DCR", ("DCR", "CRD")),
    ("LSTM", "direction"): ("mode", "forward", ("forward", "reverse")),
    ("GRU", "direction"): ("mode", "forward", ("forward", "reverse")),
    ("GRU", "linear_before_reset"): ("mode", 0, (0, 1)),
    ("CumSum", "exclusive"): ("mode", 0, (0, 1)),
    ("CumSum", "reverse"): ("mode", 0, (0, 1)),
    ("TopK", "largest"): ("mode", 1, (0, 1)),
    ("ArgMax", "select_last_index"): ("mode", 0, (0, 1)),
    ("NonMaxSuppression", "center_point_box"): ("mode", 0, (0, 1)),
    ("Trilu", "upper"): ("mode", 1, (0, 1)),
    ("Gemm", "transB"): ("mode", 0, (0, 1)),
    ("MaxPool", "ceil_mode"): ("padding", 0, (0, 1)),
    ("AveragePool", "ceil_mode"): ("padding", 0, (0, 1)),
    ("AveragePool", "count_include_pad"): ("padding", 0, (0, 1)),
    ("Conv", "auto_pad"): ("padding", "NOTSET", ("SAME_UPPER", "SAME_LOWER", "VALID")),
}
SCALES = {"epsilon": "epsilon", "alpha": "constant", "beta": "constant", "gamma": "constant"}
LISTS = ("pads", "strides", "dilations", "output_padding", "kernel_shape")


def mutants(looked: Looked) -> Iterator[Mutant]:
    for at, node in looked.nodes:
        where = f"{node.op_type} {at}"
        for (operator, name), (kind, default, others) in CHOICES.items():
            now = graph.attribute(node, name, default)
            for other in (o for o in others if operator == node.op_type and o != now):
                yield Mutant(kind, f"{where}: {name} {now} to {other}", _setting(at, name, other))
        for name in (a.name for a in node.attribute):
            yield from _of_value(where, at, name, graph.attribute(node, name))


def _of_value(where: str, at: int, name: str, value: Any) -> Iterator[Mutant]:
    if name == "axis":
        for other in (value + 1, value - 1):
            yield Mutant("axis", f"{where}: {value} to {other}", _setting(at, name, other))
    elif name == "perm":
        for i in range(len(value) - 1):
            swapped = [*value[:i], value[i + 1], value[i], *value[i + 2 :]]
            yield Mutant("axis", f"{where}: perm {list(value)} to {swapped}", _setting(at, name, swapped))
    elif name == "keepdims":
        yield Mutant("axis", f"{where}: keepdims {value} to {1 - value}", _setting(at, name, 1 - value))
    elif name in SCALES:
        for factor in (10.0, 0.1, 0.0) if name == "epsilon" else (1.1, 1.001):
            yield Mutant(SCALES[name], f"{where}: {name} x{factor:g}", _setting(at, name, value * factor))
    elif name in LISTS:
        for place in range(len(value)):
            for step in (1, -1):
                other = [*value[:place], value[place] + step, *value[place + 1 :]]
                if other[place] >= (0 if name in ("pads", "output_padding") else 1):
                    yield Mutant("padding", f"{where}: {name} {list(value)} to {other}", _setting(at, name, other))
        if name == "pads" and any(value):
            yield Mutant("padding", f"{where}: pads {list(value)} to none", _setting(at, name, [0] * len(value)))
            moved = [*(2 * v for v in value[: len(value) // 2]), *([0] * (len(value) // 2))]
            yield Mutant("padding", f"{where}: pads all before", _setting(at, name, moved))


def _setting(at: int, name: str, value: Any) -> Callable[[Any], None]:
    return lambda model: graph.set_attribute(model.graph.node[at], name, value)
