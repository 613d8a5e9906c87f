"""Gather and scatter. Source: iOS15, iOS16 and iOS17 scatter_gather.

Up to iOS16 an index below 0 counts from the end. From iOS17 on it is out of bounds, which Core ML leaves undefined:
here it is an error, as every index out of bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.errors import CheckFailed
from stages.coreml.mil.ops.table import IOS15, IOS17, Array, mil

Function = Callable[..., Array]


def _assign(out: Array, at: Any, updates: Array) -> None:
    out[at] = updates


SCATTERS: dict[str, Callable[[Array, Any, Array], None]] = {
    "update": _assign,
    "add": np.add.at,
    "sub": np.subtract.at,
    "mul": np.multiply.at,
    "div": np.true_divide.at,
    "max": np.maximum.at,
    "min": np.minimum.at,
}


def _bounded(indices: Array, size: Any, lowest: int) -> Array:
    """Checked indices. `size` is one, or one for each element of the last dimension; `lowest` is 0 or -1."""
    whole = indices.astype(np.int64)
    if ((whole < lowest * np.asarray(size)) | (whole >= size)).any():
        allowed = "-size <= index < size" if lowest else "0 <= index < size: from iOS17 on none below 0"
        raise CheckFailed(
            f"an index is outside of a dimension of {size}: {whole.min()}..{whole.max()}", allowed=allowed
        )
    return whole


def _places(indices: Array, axis: int) -> Any:
    """numpy's index for one index of each element along an axis."""
    grid: list[Any] = list(np.indices(indices.shape, sparse=True))
    grid[axis] = indices
    return tuple(grid)


def _scattered(data: Array, at: Any, updates: Array, mode: str) -> Array:
    out = data.copy()
    SCATTERS[mode](out, at, updates)
    return out


def _each(function: Function, x: Array, indices: Array, batch_dims: int) -> Array:
    """A function of each pair along the leading dimensions that both have."""
    if not batch_dims:
        return function(x, indices)
    return np.stack([_each(function, one, at, batch_dims - 1) for one, at in zip(x, indices, strict=True)])


def _register(since: int, lowest: int) -> None:
    """Registers the family for an opset with this lowest index: 0, or -1 for negative ones."""

    @mil(since=since, exact=True)
    def gather(x: Array, indices: Array, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False) -> Array:
        place, shared = int(axis) % x.ndim, int(batch_dims)
        at = _bounded(indices, x.shape[place], lowest)
        return _each(lambda one, i: np.take(one, i, place - shared), x, at, shared)

    @mil(since=since, exact=True)
    def gather_along_axis(x: Array, indices: Array, axis: int = 0, validate_indices: bool = False) -> Array:
        place = int(axis) % x.ndim
        elements: Array = x[_places(_bounded(indices, x.shape[place], lowest), place)]
        return elements

    @mil(since=since, exact=True)
    def gather_nd(x: Array, indices: Array, batch_dims: int = 0, validate_indices: bool = False) -> Array:
        shared = int(batch_dims)
        at = _bounded(indices, x.shape[shared : shared + indices.shape[-1]], lowest)
        return _each(lambda one, i: np.asarray(one[tuple(np.moveaxis(i, -1, 0))]), x, at, shared)

    @mil(since=since)
    def scatter(
        data: Array, indices: Array, updates: Array, axis: int = 0, mode: str = "add", validate_indices: bool = False
    ) -> Array:
        place = int(axis) % data.ndim
        at = (*(slice(None),) * place, _bounded(indices, data.shape[place], lowest))
        return _scattered(data, at, updates, mode)

    @mil(since=since)
    def scatter_along_axis(
        data: Array, indices: Array, updates: Array, axis: int = 0, mode: str = "add", validate_indices: bool = False
    ) -> Array:
        place = int(axis) % data.ndim
        return _scattered(data, _places(_bounded(indices, data.shape[place], lowest), place), updates, mode)

    @mil(since=since)
    def scatter_nd(
        data: Array, indices: Array, updates: Array, mode: str = "add", validate_indices: bool = False
    ) -> Array:
        at = _bounded(indices, data.shape[: indices.shape[-1]], lowest)
        return _scattered(data, tuple(np.moveaxis(at, -1, 0)), updates, mode)


_register(IOS15, -1)
_register(IOS17, 0)
