"""Resizing by interpolation along dimensions. Source: iOS15, iOS16 and iOS17 image_resizing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from stages.coreml.mil.ops.table import IOS17, Array, ints, mil


def grid(mode: str, size: float, count: int) -> Array:
    """The positions of `count` samples on 0..size - 1, by one of resize_bilinear's sampling modes."""
    i = np.arange(count, dtype=np.float64)
    if mode == "ALIGN_CORNERS" and count == 1:
        places = np.array([(size - 1) / 2])
    elif mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        places = i * (size - 1) / max(count - 1, 1)
    elif mode == "UNALIGN_CORNERS":
        places = (i + 0.5) * size / count - 0.5
    elif mode == "OFFSET_CORNERS":
        places = (i + 0.5) * max(1, size - 1) / count
    else:  # DEFAULT
        places = i * size / count
    return places.clip(0, max(size - 1, 0))


def interpolated(x: Array, axis: int, places: Array) -> Array:
    """x at positions between its elements along an axis."""
    low = np.floor(places).astype(np.int64)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    share = (places - low).astype(x.dtype).reshape(-1, *(1,) * (x.ndim - 1 - axis))
    return np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share


def _linear(x: Array, sizes: list[int], mode: str) -> Array:
    """The last dimensions resized."""
    for axis, count in enumerate(sizes, x.ndim - len(sizes)):
        x = interpolated(x, axis, grid(mode, x.shape[axis], count))
    return x


def _nearest(x: Array, sizes: list[int], mode: str = "DEFAULT", up: float = 0.0) -> Array:
    """The last dimensions resized; a position in x is rounded down after `up` is added."""
    for axis, count in enumerate(sizes, x.ndim - len(sizes)):
        places = grid(mode, x.shape[axis], count) + up
        x = np.take(x, np.floor(places + 1e-9).astype(np.int64).clip(0, x.shape[axis] - 1), axis)
    return x


def _scaled(x: Array, height: Any, width: Any) -> list[int]:
    scales = (np.float32(height), np.float32(width))
    return [math.floor(n * scale) for n, scale in zip(x.shape[-2:], scales, strict=True)]


@mil()
def upsample_nearest_neighbor(x: Array, scale_factor_height: Any = 1, scale_factor_width: Any = 1) -> Array:
    """The last two dimensions, larger by factors."""
    return _nearest(x, _scaled(x, scale_factor_height, scale_factor_width))


@mil()
def resize_nearest_neighbor(x: Array, target_size_height: int, target_size_width: int) -> Array:
    """The last two dimensions at given sizes."""
    return _nearest(x, [int(target_size_height), int(target_size_width)])


@mil()
def upsample_bilinear(
    x: Array,
    scale_factor_height: Any = 1,
    scale_factor_width: Any = 1,
    align_corners: bool = True,
    half_pixel_centers: Any = None,
) -> Array:
    """The last two dimensions, larger by factors; the resulting sizes decide the positions of the samples."""
    centred = not align_corners if half_pixel_centers is None else bool(half_pixel_centers)
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if centred else "DEFAULT"
    return _linear(x, _scaled(x, scale_factor_height, scale_factor_width), mode)


@mil()
def resize_bilinear(
    x: Array, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Array:
    """The last two dimensions at given sizes."""
    return _linear(x, [int(target_size_height), int(target_size_width)], sampling_mode)


@mil(since=IOS17)
def resize(
    x: Array, shape: Any, resized_dims: int, interpolation_mode: str = "LINEAR", sampling_mode: str = "DEFAULT"
) -> Array:
    """The last dimensions resized to the last sizes of a shape; 0 keeps a size.

    It really takes the nearest neighbour; resize_nearest_neighbor rounds down instead.
    Source: coremltools' ops/tests/iOS17/test_image_resizing.py, which does not cover two equally near elements.
    """
    count = int(resized_dims)
    sizes = [n or have for n, have in zip(ints(shape)[-count:], x.shape[-count:], strict=True)]
    if interpolation_mode == "NEAREST_NEIGHBOR":
        return _nearest(x, sizes, sampling_mode, up=0.5)
    return _linear(x, sizes, sampling_mode)
