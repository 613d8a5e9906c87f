"""Faults of an OpenVINO model's constants, of the sizes in it, and of the attributes of its operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.check.faults import arrays
from benchmarks.check.faults.mutant import Mutant
from benchmarks.check.faults.openvino import graph
from benchmarks.check.faults.openvino.graph import Looked

MOST_SIZES = 8  # elements of a vector that may be a shape
# By attribute: what is reported, and what there is.
CHOICES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "rounding_type": ("padding", ("floor", "ceil")),
    "exclude-pad": ("padding", (True, False)),
    "auto_pad": ("padding", ("explicit", "same_upper", "valid")),
    "transpose_a": ("axis", (True, False)),
    "transpose_b": ("axis", (True, False)),
    "keep_dims": ("axis", (True, False)),
    "coordinate_transformation_mode": ("mode", ("asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel")),
    "nearest_mode": ("mode", ("floor", "ceil", "round_prefer_floor", "simple")),
    "pad_mode": ("mode", ("edge", "reflect", "constant", "symmetric")),
    "approximation_mode": ("mode", ("ERF", "TANH")),
    "exclusive": ("mode", (True, False)),
    "reverse": ("mode", (True, False)),
    "linear_before_reset": ("mode", (True, False)),
    "direction": ("mode", ("forward", "reverse")),
    "box_encoding": ("mode", ("corner", "center")),
    "normalize_variance": ("mode", (True, False)),
    "causal": ("mode", (True, False)),
    "eps_mode": ("epsilon", ("INSIDE_SQRT", "OUTSIDE_SQRT")),
    "special_zero": ("mode", (True, False)),
}
MODES = {"Interpolate": ("nearest", "linear_onnx", "cubic"), "TopK": ("max", "min")}
MODES |= {"DepthToSpace": ("depth_first", "blocks_first"), "Broadcast": ("numpy", "bidirectional")}
SCALES = {"eps": "epsilon", "alpha": "constant", "min": "constant", "max": "constant"}
LISTS = ("pads_begin", "pads_end", "strides", "dilations", "output_padding", "kernel")


def mutants(looked: Looked) -> Iterator[Mutant]:
    for number, operation in looked.operations:
        where = f"{operation.get_type_name()} {number}"
        for place in range(operation.get_input_size()):
            if (values := looked.constant(operation, place)) is not None:
                yield from _of_constant(values, number, place, f"{where}, input {place}")
            else:
                yield from _frozen(looked, operation, number, place, f"{where}, input {place}")
        for name, value in operation.get_attributes().items():
            yield from _of_attribute(operation.get_type_name(), where, number, name, value)


def _of_constant(values: Any, number: int, place: int, where: str) -> Iterator[Mutant]:
    for kind, what, change in (*arrays.faults(where, values), *arrays.indices(values)):
        changed = np.ascontiguousarray(change(values)).astype(values.dtype).reshape(values.shape)
        if not np.array_equal(changed, values):
            yield Mutant(kind, f"{where}: {what}", _putting(changed, number, place))


def _frozen(looked: Looked, operation: Any, number: int, place: int, where: str) -> Iterator[Mutant]:
    edge = looked.source(operation, place)
    example, other = (values_at.get(edge) for values_at in looked.values)
    if example is None or other is None or example.dtype.kind != "i" or example.size > MOST_SIZES or example.ndim > 1:
        return
    is_ids = example.shape != other.shape or np.array_equal(example, other)
    if not is_ids:
        yield Mutant("frozen size", where, _putting(example, number, place))


def _putting(values: Any, number: int, place: int) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        from openvino import opset13

        graph.take(model, number, place, opset13.constant(values).output(0))

    return apply


def _of_attribute(kind: str, where: str, number: int, name: str, value: Any) -> Iterator[Mutant]:
    family, others = CHOICES.get(name, ("mode", MODES.get(kind, ()) if name == "mode" else ()))
    for other in (o for o in others if o != value):
        yield Mutant(family, f"{where}: {name} {value} to {other}", _setting(number, name, other))
    if name == "axis":
        for other in (value + 1, value - 1):
            yield Mutant("axis", f"{where}: {value} to {other}", _setting(number, name, other))
    if name in SCALES and abs(value) < arrays.FLOAT16_MAX:
        for factor in (10.0, 0.1, 0.0) if name == "eps" else (1.1, 1.001):
            if value * factor != value:
                yield Mutant(SCALES[name], f"{where}: {name} x{factor:g}", _setting(number, name, value * factor))
    if name in LISTS:
        for place in range(len(value)):
            for step in (1, -1):
                changed = [*value[:place], value[place] + step, *value[place + 1 :]]
                if changed[place] >= (0 if name.startswith("pads") or name == "output_padding" else 1):
                    yield Mutant("padding", f"{where}: {name} {value} to {changed}", _setting(number, name, changed))


def _setting(number: int, name: str, value: Any) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        operation = graph.operations(model)[number]
        operation.set_attribute(name, value)
        model.validate_nodes_and_infer_types()
        if graph.operations(model)[number].get_attributes()[name] != value:
            raise ValueError(f"{name} stayed as it was")

    return apply
