"""Reductions along axes, by default along all. Source: iOS15 reduction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from stages.coreml.mil.ops.elementwise import NAMES
from stages.coreml.mil.ops.table import Array, ints, mil

Reduction = Callable[..., Any]


def _log_sum_exp(x: Array, axis: Any, keepdims: bool) -> Array:
    highest = x.max(axis, keepdims=True, initial=-np.inf)
    steady = np.where(np.isfinite(highest), highest, 0)  # where all are infinite, the difference would be NaN
    total = np.log(np.exp(x - steady).sum(axis, keepdims=True)) + steady
    return total if keepdims else np.asarray(total.squeeze(axis))


REDUCTIONS: dict[str, Reduction] = {
    "reduce_l1_norm": lambda x, axis, keepdims: np.abs(x).sum(axis, keepdims=keepdims),
    "reduce_l2_norm": lambda x, axis, keepdims: np.sqrt(np.square(x).sum(axis, keepdims=keepdims)),
    "reduce_log_sum": lambda x, axis, keepdims: np.log(x.sum(axis, keepdims=keepdims)),
    "reduce_log_sum_exp": _log_sum_exp,
    "reduce_max": np.max,
    "reduce_mean": np.mean,
    "reduce_min": np.min,
    "reduce_prod": np.prod,
    "reduce_sum": np.sum,
    "reduce_sum_square": lambda x, axis, keepdims: np.square(x).sum(axis, keepdims=keepdims),
}


def _along(reduction: Reduction) -> Callable[..., Array]:
    def reduce(x: Array, axes: Array | None = None, keep_dims: bool = False) -> Array:
        axis = tuple(range(x.ndim)) if axes is None else tuple(ints(axes))
        return np.asarray(reduction(x, axis=axis, keepdims=bool(keep_dims)))

    return reduce


for _name, _reduction in REDUCTIONS.items():
    mil(_name)(_along(_reduction))


@mil()
def reduce_argmax(x: Array, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Array:
    """The index of the largest value; the first of several."""
    return np.argmax(x, int(axis), keepdims=bool(keep_dims)).astype(NAMES.get(output_dtype, output_dtype))


@mil()
def reduce_argmin(x: Array, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Array:
    """The index of the smallest value; the first of several."""
    return np.argmin(x, int(axis), keepdims=bool(keep_dims)).astype(NAMES.get(output_dtype, output_dtype))


@mil()
def cumsum(x: Array, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Array:
    """Cumulative sums; exclusive: without the element itself; reverse: from the end."""
    way = np.flip(x, int(axis)) if reverse else x
    total = np.cumsum(way, int(axis), dtype=x.dtype)
    total = total - way if exclusive else total
    return np.flip(total, int(axis)) if reverse else total
