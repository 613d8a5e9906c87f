"""Normalizations. Source: iOS15 normalization, whose parameters may have another type than x from iOS17 on."""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.coreml.mil.ops.activation import per_channel
from stages.coreml.mil.ops.table import Array, ints, mil


def _scaled(x: Array, gamma: Array | None, beta: Array | None) -> Array:
    y = x if gamma is None else x * gamma
    return y if beta is None else y + beta


def _standard(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    """x less its mean, by the root of its variance along axes.

    In float64, since equal numbers must have themselves as their mean: epsilon makes a thousand times of a difference.
    """
    centred = x - x.mean(axes, np.float64, keepdims=True).astype(x.dtype)
    return centred / np.sqrt(np.square(centred).mean(axes, keepdims=True) + np.float32(epsilon))


@mil()
def batch_norm(
    x: Array,
    mean: Array,
    variance: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: float = 1e-5,
) -> Array:
    """x less a mean, by the root of a variance, of each channel."""
    scale = 1 / np.sqrt(variance + np.float32(epsilon))
    scale = scale if gamma is None else scale * gamma
    shift = -mean * scale if beta is None else beta - mean * scale
    return x * per_channel(scale, x.ndim) + per_channel(shift, x.ndim)


@mil()
def instance_norm(x: Array, gamma: Array | None = None, beta: Array | None = None, epsilon: float = 1e-5) -> Array:
    """x normalized over the spatial dimensions of each channel of each sample."""
    scale, shift = (None if v is None else per_channel(v, x.ndim) for v in (gamma, beta))
    return _scaled(_standard(x, tuple(range(2, x.ndim)), epsilon), scale, shift)


@mil()
def layer_norm(
    x: Array, axes: Any = None, gamma: Array | None = None, beta: Array | None = None, epsilon: float = 1e-5
) -> Array:
    """x normalized over axes; gamma and beta have the sizes of these."""
    along = [a % x.ndim for a in ints(range(x.ndim) if axes is None else axes)]
    sizes = [n if a in along else 1 for a, n in enumerate(x.shape)]
    scale, shift = (None if v is None else v.reshape(sizes) for v in (gamma, beta))
    return _scaled(_standard(x, tuple(along), epsilon), scale, shift)


@mil()
def l2_norm(x: Array, epsilon: float = 1e-6) -> Array:
    """x by the root of the sum of squares of its last three dimensions."""
    return x / np.sqrt(np.square(x).sum((-3, -2, -1), keepdims=True) + np.float32(epsilon))


@mil()
def local_response_norm(x: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Array:
    """x by (k + alpha / size times the sum of squares of `size` neighbouring channels) ^ beta.

    The channels are the third dimension from the end: of three dimensions that is the first, by coremltools'
    ops/tests/iOS14/test_normalization.py, though the documentation calls it the batch.
    """
    n, channels = int(size), 0 if x.ndim == 3 else 1
    around = [(0, 0)] * x.ndim
    around[channels] = (n // 2, (n - 1) // 2)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(np.square(x), around), n, channels)
    return x / (k + alpha / n * windows.sum(-1)) ** beta
