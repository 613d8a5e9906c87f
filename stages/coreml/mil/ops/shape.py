"""Operations that change the shape and no value. Source: tensor_transformation of iOS15, iOS16 and iOS17."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from stages.coreml.mil.ops.table import IOS16, IOS17, Array, ints, mil


@mil(exact=True)
def shape(x: Array) -> Array:
    """The sizes of x."""
    return np.array(x.shape, np.int32)


@mil(exact=True)
def reshape(x: Array, shape: Any) -> Array:
    """The values in another shape: 0 keeps the size of x at that position, -1 is the rest."""
    sizes = ints(shape)
    return x.reshape([x.shape[i] if n == 0 and x.size else n for i, n in enumerate(sizes)])


@mil("reshape", since=IOS17, exact=True)
def reshape_from_the_right(x: Array, shape: Any) -> Array:
    """As reshape, but positions of 0 count from the last dimension, and it is 1 where x has none."""
    sizes = ints(shape)
    own = (1,) * max(0, len(sizes) - x.ndim) + x.shape[max(0, x.ndim - len(sizes)) :]
    return x.reshape([h if n == 0 and x.size else n for n, h in zip(sizes, own, strict=True)])


@mil(since=IOS16, exact=True)
def reshape_like(x: Array, ref_tensors: list[Array], begins: list[Any], ends: list[Any], end_masks: list[Any]) -> Array:
    """The values in a shape that is joined from parts of other tensors' shapes."""
    parts = zip(ref_tensors, begins, ends, end_masks, strict=True)
    return x.reshape([n for ref, b, e, rest in parts for n in ref.shape[int(b) : None if rest else int(e)]])


@mil(exact=True)
def expand_dims(x: Array, axes: Any) -> Array:
    """Adds dimensions of size 1; axes are their positions in the result."""
    return np.expand_dims(x, tuple(ints(axes)))


@mil(exact=True)
def squeeze(x: Array, axes: Any = None) -> Array:
    """Removes dimensions of size 1, those of axes or all; others stay."""
    chosen = range(x.ndim) if axes is None else [a % x.ndim for a in ints(axes)]
    return x.squeeze(tuple({a for a in chosen if x.shape[a] == 1}))


@mil(exact=True)
def transpose(x: Array, perm: Any) -> Array:
    """The dimensions in another order."""
    return x.transpose(ints(perm))


@mil(exact=True)
def flatten2d(x: Array, axis: int = 1) -> Array:
    """Two dimensions: the product of those before an axis, and of the others."""
    before = math.prod(x.shape[: int(axis)])
    return x.reshape(before, math.prod(x.shape[int(axis) :]))


@mil(exact=True)
def depth_to_space(x: Array, block_size: int) -> Array:
    """Channels into blocks of pixels; the channels of a pixel stay together."""
    n, c, h, w = x.shape
    b = int(block_size)
    return x.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)


@mil(exact=True)
def space_to_depth(x: Array, block_size: int) -> Array:
    """Blocks of pixels into channels; the channels of a pixel stay together."""
    n, c, h, w = x.shape
    b = int(block_size)
    return x.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4).reshape(n, c * b**2, h // b, w // b)


@mil(exact=True)
def pixel_shuffle(x: Array, upscale_factor: int) -> Array:
    """Channels into blocks of pixels; the pixels of a block come from channels that are neighbours."""
    n, c, h, w = x.shape
    f = int(upscale_factor)
    return x.reshape(n, c // f**2, f, f, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // f**2, h * f, w * f)


@mil(since=IOS16, exact=True)
def pixel_unshuffle(x: Array, downscale_factor: int) -> Array:
    """The inverse of pixel_shuffle."""
    n, c, h, w = x.shape
    f = int(downscale_factor)
    return x.reshape(n, c, h // f, f, w // f, f).transpose(0, 1, 3, 5, 2, 4).reshape(n, c * f**2, h // f, w // f)


@mil(exact=True)
def space_to_batch(x: Array, block_shape: Any, paddings: Any) -> Array:
    """Blocks of pixels, after padding with 0, into the batch."""
    across, down = ints(block_shape)
    padded = np.pad(x, [(0, 0), (0, 0), *(tuple(ints(p)) for p in paddings)])
    n, c, h, w = padded.shape
    blocks = padded.reshape(n, c, h // across, across, w // down, down).transpose(3, 5, 0, 1, 2, 4)
    return blocks.reshape(n * across * down, c, h // across, w // down)


@mil(exact=True)
def batch_to_space(x: Array, block_shape: Any, crops: Any) -> Array:
    """The batch into blocks of pixels, which are then cropped."""
    across, down = ints(block_shape)
    n, c, h, w = x.shape
    n //= across * down
    whole = x.reshape(across, down, n, c, h, w).transpose(2, 3, 4, 0, 5, 1).reshape(n, c, h * across, w * down)
    (top, bottom), (left, right) = (ints(c) for c in crops)
    return whole[:, :, top : h * across - bottom, left : w * down - right]
