"""Operations that slice, join, repeat and make tensors. Source: iOS15 tensor_operation and tensor_transformation."""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.coreml.mil.ops.table import IOS16, IOS18, Array, ints, mil

MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


@mil(exact=True)
def concat(values: list[Array], axis: int, interleave: bool = False) -> Array:
    """Concatenates tensors along an axis, or interleaves their slices; scalars make a vector."""
    if not interleave:
        return np.concatenate([np.atleast_1d(v) for v in values], int(axis))
    place = int(axis) % values[0].ndim
    sizes = list(values[0].shape)
    sizes[place] *= len(values)
    return np.stack(values, place + 1).reshape(sizes)


@mil(exact=True)
def stack(values: list[Array], axis: int) -> Array:
    """Tensors one after another along a new axis."""
    return np.stack(values, int(axis))


@mil(exact=True)
def split(x: Array, axis: int, num_splits: Any = None, split_sizes: Any = None) -> tuple[Array, ...]:
    """Parts along an axis: of given sizes, or a number of parts of equal size."""
    parts = int(num_splits) if split_sizes is None else np.cumsum(ints(split_sizes))[:-1]
    return tuple(np.split(x, parts, int(axis)))


@mil(exact=True)
def pad(x: Array, pad: Any, mode: str = "constant", constant_val: Any = 0) -> Array:
    """Elements before and after each of the last dimensions."""
    flat = ints(pad)
    around = list(zip(flat[::2], flat[1::2], strict=True))
    widths = [(0, 0)] * (x.ndim - len(around)) + around
    if mode == "constant":
        return np.pad(x, widths, constant_values=constant_val)
    return np.pad(x, widths, MODES[mode])  # type: ignore[call-overload]


@mil(exact=True)
def tile(x: Array, reps: Any) -> Array:
    """x repeated along each dimension."""
    return np.tile(x, ints(reps))


@mil(exact=True)
def reverse(x: Array, axes: Any = None) -> Array:
    """x from its end along axes, or all."""
    return np.flip(x, None if axes is None else tuple(ints(axes)))


@mil(exact=True)
def reverse_sequence(x: Array, lengths: Any, seq_axis: int = 0, batch_axis: int = 0) -> Array:
    """Reverses the first elements along an axis; how many, for each index of another axis."""
    moved = np.moveaxis(x, (int(batch_axis), int(seq_axis)), (0, 1)).copy()
    for row, n in zip(moved, ints(lengths), strict=True):
        row[:n] = row[:n][::-1].copy()
    return np.moveaxis(moved, (0, 1), (int(batch_axis), int(seq_axis)))


def _slices(rank: int, begin: Any, end: Any, stride: Any, begin_mask: Any, end_mask: Any, squeeze_mask: Any) -> Any:
    """numpy's index of a slice by index."""
    first, last = ints(begin), ints(end)
    step = [1] * rank if stride is None else ints(stride)
    free_first, free_last, alone = (
        [False] * rank if mask is None else [bool(m) for m in np.asarray(mask).reshape(-1)]
        for mask in (begin_mask, end_mask, squeeze_mask)
    )
    return tuple(
        (0 if free_first[i] else first[i])
        if alone[i]
        else slice(None if free_first[i] else first[i], None if free_last[i] else last[i], step[i])
        for i in range(rank)
    )


@mil(exact=True)
def slice_by_index(
    x: Array,
    begin: Any,
    end: Any,
    stride: Any = None,
    begin_mask: Any = None,
    end_mask: Any = None,
    squeeze_mask: Any = None,
) -> Array:
    """x[begin:end:stride] in each dimension. A mask ignores begin or end, or takes only the element at begin."""
    return np.asarray(x[_slices(x.ndim, begin, end, stride, begin_mask, end_mask, squeeze_mask)])


@mil(since=IOS18, exact=True)
def slice_update(
    x: Array,
    update: Array,
    begin: Any,
    end: Any,
    stride: Any = None,
    begin_mask: Any = None,
    end_mask: Any = None,
    squeeze_mask: Any = None,
) -> Array:
    """x with another tensor in place of the part that slice_by_index takes."""
    updated = x.copy()
    updated[_slices(x.ndim, begin, end, stride, begin_mask, end_mask, squeeze_mask)] = update
    return updated


@mil(exact=True)
def slice_by_size(x: Array, begin: Any, size: Any) -> Array:
    """A number of elements from begin on, in each dimension; all the rest where the size is -1."""
    first = [b + n if b < 0 else b for b, n in zip(ints(begin), x.shape, strict=True)]
    return x[tuple(slice(b, None if n == -1 else b + n) for b, n in zip(first, ints(size), strict=True))]


@mil(exact=True)
def crop(x: Array, crop_height: Any, crop_width: Any) -> Array:
    """x without some rows and columns at the ends of the last two dimensions."""
    (top, bottom), (left, right) = ints(crop_height), ints(crop_width)
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


@mil(exact=True)
def sliding_windows(x: Array, axis: int, size: int, stride: int = 1) -> Array:
    """All windows along an axis; their elements are a new axis after it."""
    place = int(axis) % x.ndim
    windows = np.lib.stride_tricks.sliding_window_view(x, int(size), place)
    return np.moveaxis(windows, -1, place + 1)[(*(slice(None),) * place, slice(None, None, int(stride)))]


@mil(exact=True)
def band_part(x: Array, lower: int = -1, upper: int = -1) -> Array:
    """The last two dimensions, 0 outside a band around their diagonal; a negative bound keeps that side whole."""
    below = np.subtract.outer(np.arange(x.shape[-2]), np.arange(x.shape[-1]))
    inside = ((int(lower) < 0) | (below <= int(lower))) & ((int(upper) < 0) | (-below <= int(upper)))
    return np.where(inside, x, np.zeros((), x.dtype))


@mil(exact=True)
def fill(shape: Any, value: Any = 0.0) -> Array:
    """A tensor of one value."""
    return np.full(ints(shape), value)


@mil(since=IOS16, exact=True)
def fill_like(ref_tensor: Array, value: Any = 0.0) -> Array:
    """A tensor of one value, in the shape of another."""
    return np.full(ref_tensor.shape, value)


@mil()
def range_1d(start: Any, end: Any, step: Any) -> Array:
    """start, start + step, …, before end."""
    return np.arange(start, end, step)


@mil(exact=True)
def one_hot(indices: Array, one_hot_vector_size: Any, axis: int = -1, on_value: Any = 1, off_value: Any = 0) -> Array:
    """Vectors along a new axis with one value at an index and another elsewhere; an index out of range sets none."""
    hot = indices[..., None] == np.arange(int(one_hot_vector_size))
    return np.moveaxis(np.where(hot, on_value, off_value), -1, int(axis))
