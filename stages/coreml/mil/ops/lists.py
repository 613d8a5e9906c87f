"""Lists of tensors, and states. Source: iOS15 control_flow, iOS18 states.

A list's operations return a new list; a state is changed in place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.coreml.mil.ops.elementwise import NAMES
from stages.coreml.mil.ops.table import IOS18, Array, ints, mil


@mil(exact=True)
def make_list(
    init_length: int = 1, dynamic_length: bool = True, elem_shape: Any = (), dtype: str = "fp32"
) -> list[Any]:
    """Elements of zeros; None for each where the first write decides the shape."""
    is_fixed = not any(isinstance(n, str) for n in elem_shape)
    sizes = [int(n) for n in elem_shape] if is_fixed else []
    return [np.zeros(sizes, NAMES.get(dtype, dtype)) if is_fixed else None for _ in range(int(init_length))]


@mil(exact=True)
def list_length(ls: list[Array]) -> Array:
    """The number of elements."""
    return np.array(len(ls), np.int32)


@mil(exact=True)
def list_read(ls: list[Array], index: int) -> Array:
    """The element at an index."""
    return ls[int(index)]


@mil(exact=True)
def list_write(ls: list[Any], index: int, value: Array) -> list[Any]:
    """The list with a value at an index; it grows by zeros as far as needed.

    Source: coremltools' ops/tests/iOS14/test_control_flow.py, TestList.
    """
    grown = [*ls, *[np.zeros_like(value)] * (int(index) + 1 - len(ls))]
    grown[int(index)] = value
    return grown


@mil(exact=True)
def list_gather(ls: list[Array], indices: Any) -> Array:
    """The elements at indices, along a new first dimension."""
    return np.stack([ls[i] for i in ints(indices)])


@mil(exact=True)
def list_scatter(ls: list[Any], indices: Any, value: Array) -> list[Any]:
    """The list with the slices of a value at indices."""
    for index, element in zip(ints(indices), value, strict=True):
        ls = list_write(ls, index, element)
    return ls


@mil(since=IOS18, exact=True)
def read_state(input: Any) -> Array:  # noqa: A002 — MIL's name
    """The values of a state."""
    array: Array = input.array
    return array.copy()


@mil(since=IOS18, exact=True)
def write_state(input: Any, data: Array) -> None:  # noqa: A002 — MIL's name
    """Replaces the values of a state."""
    input.array = data
