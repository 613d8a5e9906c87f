"""Pooling of one to three spatial dimensions. Source: iOS15 pool."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.coreml.mil.ops.convolution import Pads, pads
from stages.coreml.mil.ops.table import Array, ints, mil, tensor


def _around(x: Array, kernel: Sequence[int], strides: Sequence[int], kind: str, pad: Any, ceil: bool) -> Pads:
    """The padding before and after each dimension; in ceil mode also what the last window reaches beyond it."""
    sizes = x.shape[2:]
    around = pads(kind, pad, sizes, kernel, strides)
    if not ceil:
        return around
    wider = []
    for n, k, s, (before, after) in zip(sizes, kernel, strides, around, strict=True):
        windows = -(-(n + before + after - k) // s) + 1
        if (windows - 1) * s >= n + before and before + after:
            windows -= 1
        wider.append((before, after + max(0, (windows - 1) * s + k - (n + before + after))))
    return wider


def _padded(x: Array, around: Pads, value: float) -> Any:
    from torch.nn import functional

    return functional.pad(tensor(x), [n for pair in reversed(around) for n in pair], value=value)


def _sums(x: Array, kernel: Sequence[int], strides: Sequence[int], around: Pads) -> Array:
    """The sum of each window, 0 outside of x."""
    from torch.nn import functional

    average = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[x.ndim - 3]
    pooled: Array = np.asarray(average(_padded(x, around, 0), list(kernel), list(strides)))
    return pooled * math.prod(kernel)


@mil()
def max_pool(
    x: Array, kernel_sizes: Any, pad_type: str, strides: Any = None, pad: Any = None, ceil_mode: bool = False
) -> Array:
    """The largest value of each window; NaN where there is one."""
    from torch.nn import functional

    kernel = ints(kernel_sizes)
    steps = ints([1] * len(kernel) if strides is None else strides)
    around = _around(x, kernel, steps, pad_type, pad, bool(ceil_mode))
    largest = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[x.ndim - 3]
    return np.asarray(largest(_padded(x, around, -math.inf), kernel, steps))


@mil()
def avg_pool(
    x: Array,
    kernel_sizes: Any,
    pad_type: str,
    strides: Any = None,
    pad: Any = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Array:
    """The mean of each window: of the part inside where padding is excluded, else the sum divided by the whole kernel.

    In ceil mode this includes what reaches beyond the edge: there Core ML differs from torch.
    Source: https://github.com/apple/coremltools/issues/2772
    """
    kernel = ints(kernel_sizes)
    steps = ints([1] * len(kernel) if strides is None else strides)
    around = _around(x, kernel, steps, pad_type, pad, bool(ceil_mode))
    sums = _sums(x, kernel, steps, around)
    if not exclude_padding_from_average:
        return sums / x.dtype.type(math.prod(kernel))
    return sums / _sums(np.ones((1, 1, *x.shape[2:]), x.dtype), kernel, steps, around)


@mil()
def l2_pool(
    x: Array, kernel_sizes: Any, pad_type: str, strides: Any = None, pad: Any = None, ceil_mode: bool = False
) -> Array:
    """The root of the sum of squares of each window."""
    kernel = ints(kernel_sizes)
    steps = ints([1] * len(kernel) if strides is None else strides)
    return np.sqrt(_sums(np.square(x), kernel, steps, _around(x, kernel, steps, pad_type, pad, bool(ceil_mode))))
