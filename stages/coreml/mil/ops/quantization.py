"""Affine quantization of values. Source: iOS17 quantization_ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.coreml.mil.ops.table import IOS17, Array, mil


def along(values: Array, axis: Any, rank: int) -> Array:
    """One value for each place of an axis, or one for all."""
    if not values.ndim or values.size == 1:
        return values.reshape(())
    sizes = [1] * rank
    sizes[int(axis)] = values.size
    return values.reshape(sizes)


@mil(since=IOS17)
def quantize(input: Array, scale: Array, output_dtype: str, zero_point: Any = None, axis: Any = None) -> Array:  # noqa: A002
    """round(x / scale) + zero_point, clipped to the type's range; halves to even."""
    span = np.iinfo(output_dtype)
    shift = 0 if zero_point is None else along(zero_point, axis, input.ndim).astype(np.int64)
    whole = np.rint(input / along(scale, axis, input.ndim)).clip(-(2.0**31), 2.0**31)
    return (whole.astype(np.int64) + shift).clip(span.min, span.max).astype(output_dtype)


@mil(since=IOS17)
def dequantize(input: Array, scale: Array, zero_point: Any = None, axis: Any = None) -> Array:  # noqa: A002
    """scale (x - zero_point)."""
    shift = 0 if zero_point is None else along(zero_point, axis, input.ndim).astype(np.float32)
    return along(scale, axis, input.ndim) * (input.astype(np.float32) - shift)
