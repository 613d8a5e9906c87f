"""Faults of what a Core ML program is given as constants: weights, numbers, axes, sizes, padding, flags, modes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.check.faults import arrays
from benchmarks.check.faults.coreml import graph
from benchmarks.check.faults.coreml.graph import Looked, Package
from benchmarks.check.faults.mutant import Mutant

MOST_SIZES = 8  # elements of a vector that may be a shape
KINDS = {"axis": "axis", "axes": "axis", "perm": "axis", "keep_dims": "axis", "transpose_x": "axis"}
KINDS |= {"transpose_y": "axis", "pad": "padding", "strides": "padding", "dilations": "padding"}
KINDS |= {"kernel_sizes": "padding", "pad_type": "padding", "ceil_mode": "padding"}
KINDS |= {"exclude_padding_from_average": "padding", "output_padding": "padding"}
# Of texts: those of which one may stand where another does.
TEXTS = (
    ("EXACT", "TANH_APPROXIMATION"),
    ("reflect", "replicate", "constant"),
    ("valid", "same", "custom"),
    ("forward", "reverse"),
    ("sigmoid", "tanh"),
    ("DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS"),
)
UNCHANGED = ("groups", "name")  # what is another is no program


def mutants(looked: Looked) -> Iterator[Mutant]:
    for operation in looked.computing():
        result = operation.outputs[0][0]
        for parameter, bindings in operation.inputs.items():
            for place, bound in enumerate(bindings):
                where = f"{operation.type} {result}, {parameter} {place}"
                if isinstance(bound, str) and bound in looked.constants and parameter not in UNCHANGED:
                    yield from _of_constant(looked.constants[bound], parameter, result, place, where)
                elif isinstance(bound, str):
                    yield from _frozen(looked, bound, parameter, result, place, where)


def _of_constant(values: Any, parameter: str, result: str, place: int, where: str) -> Iterator[Mutant]:
    if isinstance(values, str):
        for other in (o for texts in TEXTS if values in texts for o in texts if o != values):
            kind = KINDS.get(parameter, "mode")
            yield Mutant(kind, f"{where}: {values} to {other}", _putting(other, parameter, result, place))
        return
    array = np.asarray(values)
    for kind, what, change in _changes(parameter, where, array):
        changed = np.asarray(change(array)).astype(array.dtype).reshape(array.shape)
        if not np.array_equal(changed, array):
            yield Mutant(kind, f"{where}: {what}", _putting(changed, parameter, result, place))


def _changes(parameter: str, where: str, array: Any) -> Iterator[arrays.Fault]:
    if parameter == "perm":
        for i in range(array.size - 1):
            order = [*range(i), i + 1, i, *range(i + 2, array.size)]
            yield "axis", f"{i} and {i + 1} swapped", lambda v, o=order: v[o]
    elif array.dtype == np.bool_ and array.size <= MOST_SIZES:
        for i in range(array.size):
            yield KINDS.get(parameter, "mode"), f"[{i}] the other way", lambda v, i=i: _flipped(v, i)
    else:
        yield from arrays.faults(where, array)
        for _, what, change in arrays.indices(array):
            yield KINDS.get(parameter, "index off by one"), what, change


def _flipped(values: Any, place: int) -> Any:
    changed = values.copy()
    changed.reshape(-1)[place] ^= True
    return changed


def _putting(values: Any, parameter: str, result: str, place: int) -> Callable[[Package], None]:
    def apply(package: Package) -> None:
        name = graph.add_constant(package, "planted", values)
        graph.bind(package.operation(result), parameter, place, name)

    return apply


def _frozen(looked: Looked, bound: str, parameter: str, result: str, place: int, where: str) -> Iterator[Mutant]:
    example, other = (values_at.get(bound) for values_at in looked.values)
    if example is None or other is None or example.dtype.kind != "i" or example.size > MOST_SIZES or example.ndim > 1:
        return
    if example.shape == other.shape and not np.array_equal(example, other):
        yield Mutant("frozen size", where, _putting(example.astype(np.int32), parameter, result, place))
