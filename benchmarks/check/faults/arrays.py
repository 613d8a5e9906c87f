"""What converters do to arrays: weights and constants that come out as others. The same for every format."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Array = Any
Fault = tuple[str, str, Callable[[Array], Array]]  # kind, what is done, the array that comes of it
FLOAT16_MAX = float(np.finfo(np.float16).max)
LEAST_EPSILON, LARGEST_EPSILON = 1e-13, 2e-5
MASKED = -1e4  # what is as low as this stands for "not to be seen"


def alike(by_size: Sequence[Mapping[Any, Array]], one: Any, other: Any) -> bool:
    """Whether two edges of a graph have the same type, and the same shape, at each of several sizes.

    Args:
        by_size: At each size, what flowed over each edge.
        one: An edge, as `seen` has it.
        other: Likewise.
    """
    pairs = [(values.get(one), values.get(other)) for values in by_size]
    return all(a is not None and b is not None and (a.dtype, a.shape) == (b.dtype, b.shape) for a, b in pairs)


def faults(name: str, values: Array) -> Iterator[Fault]:
    """What may go wrong with a floating-point array; each changes it in one way alone."""
    if values.dtype != np.float32 or not values.size:
        return
    if values.size == 1:
        yield from _scalar(values)
        return
    yield from _gates(name, values)
    # Leading dimensions of 1, such as the one direction of a GRU, are no rows.
    lead = next(i for i, n in enumerate(values.shape) if n > 1)
    for kind, what, change in _weight(name, values.reshape(values.shape[lead:])):
        yield kind, what, lambda v, c=change: c(v.reshape(v.shape[lead:])).reshape(v.shape)


def _scalar(values: Array) -> Iterator[Fault]:
    value = float(values.reshape(-1)[0])
    if LEAST_EPSILON < abs(value) <= LARGEST_EPSILON:
        yield ("epsilon", "lost", np.zeros_like)
        yield ("epsilon", "x10", lambda v: v * np.float32(10))
        yield ("epsilon", "x0.1", lambda v: v * np.float32(0.1))
    elif value <= MASKED:
        for other in (-20.0, -100.0):
            yield ("mask value", f"{other:g}", lambda v, o=other: np.full_like(v, o))
        yield ("mask value", "0", np.zeros_like)
        yield ("mask value", "-inf", lambda v: np.full_like(v, -np.inf))
    else:
        yield ("constant", "x1.001", lambda v: v * np.float32(1.001))
        yield ("constant", "x1.1", lambda v: v * np.float32(1.1))
        yield ("constant", "one more", lambda v: v + np.float32(1))
        if value:
            yield ("constant", "of the other sign", lambda v: -v)


def _weight(name: str, values: Array) -> Iterator[Fault]:
    at = np.random.default_rng(zlib.crc32(name.encode()))
    place = int(at.integers(values.size))
    row = int(at.integers(values.shape[0]))
    yield ("weights", "x1.001", lambda v: v * np.float32(1.001))
    yield ("weights", "x1.0001", lambda v: v * np.float32(1.0001))
    yield ("weights", f"row {row} x1.01", lambda v: _at(v, row, lambda r: r * np.float32(1.01)))
    yield ("weights", f"row {row} x1.001", lambda v: _at(v, row, lambda r: r * np.float32(1.001)))
    yield ("weights", f"element {place} is 0", lambda v: _element(v, place, 0))
    yield ("weights", f"element {place} of the other sign", lambda v: _element(v, place, -v.reshape(-1)[place]))
    yield ("weights", "all of the other sign", lambda v: -v)
    yield ("weights in fewer bits", "float16", lambda v: v.astype(np.float16).astype(np.float32))
    yield ("weights in fewer bits", "bfloat16", _as_bfloat16)
    yield ("weights in fewer bits", "int8 by tensor", _as_int8)
    yield ("weights", "the largest clipped to half", lambda v: v.clip(-abs(v).max() / 2, abs(v).max() / 2))
    if values.ndim == 1:
        yield ("weights lost", "all of a vector", np.zeros_like)
        yield ("weights moved", "by one", lambda v: np.roll(v, 1))
        return
    last = values.shape[0] - 1
    for lost in dict.fromkeys((last, 0, row)):
        yield ("weights lost", f"row {lost}", lambda v, n=lost: _at(v, n, np.zeros_like))
    yield ("weights moved", "rows by one", lambda v: np.roll(v, 1, 0))
    yield ("weights moved", "first two rows swapped", lambda v: v[[1, 0, *range(2, len(v))]])
    yield ("weights moved", "columns by one", lambda v: np.roll(v, 1, 1))
    if values.ndim >= 3 and values.shape[-1] > 1:
        yield ("weights moved", "kernel flipped", lambda v: v[..., ::-1])
    if values.shape[-1] == values.shape[-2] > 1:
        yield ("weights moved", "transposed", lambda v: v.swapaxes(-1, -2))


def _gates(name: str, values: Array) -> Iterator[Fault]:
    """Of a recurrent network, which keeps those of its gates one behind the other."""
    operator = name.upper()
    parts = 4 if operator.startswith("LSTM") else 3 if operator.startswith("GRU") else 0
    axis = next((i for i, n in enumerate(values.shape) if parts and n > parts and n % parts == 0), None)
    if axis is not None:
        for one in range(parts - 1):
            order = [*range(one), one + 1, one, *range(one + 2, parts)]
            what = f"gates {one} and {one + 1} swapped"
            yield "weights moved", what, lambda v, o=order: _in_order(v, o, axis)


def indices(values: Array) -> Iterator[Fault]:
    """What may go wrong with whole numbers: sizes, axes, positions."""
    if values.dtype not in (np.int64, np.int32) or not 0 < values.size <= 8:
        return
    for place in range(values.size):
        where = f"[{place}]" if values.size > 1 else ""
        for step in (1, -1):
            yield (
                "index off by one",
                f"{where} {step:+d}",
                lambda v, p=place, s=step: _element(v, p, v.reshape(-1)[p] + s),
            )
    if values.size > 1 and values.reshape(-1)[0] != values.reshape(-1)[-1]:
        yield ("index off by one", "in reverse", lambda v: v.reshape(-1)[::-1].reshape(v.shape))


def _at(values: Array, row: int, change: Callable[[Array], Array]) -> Array:
    changed = values.copy()
    changed[row] = change(values[row])
    return changed


def _element(values: Array, place: int, other: Any) -> Array:
    changed = values.copy()
    changed.reshape(-1)[place] = other
    return changed


def _as_bfloat16(values: Array) -> Array:
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return rounded.astype(np.uint32).view(np.float32)


def _as_int8(values: Array) -> Array:
    step = np.float32(abs(values).max() / 127 or 1)
    return (values / step).round() * step


def _in_order(values: Array, order: list[int], axis: int) -> Array:
    parts = np.split(values, len(order), axis)
    return np.concatenate([parts[i] for i in order], axis)
