"""Activations. Source: iOS15 activation, whose parameters may have another type than x from iOS17 on."""

from __future__ import annotations

import numpy as np

from stages.coreml.mil.ops.elementwise import erf
from stages.coreml.mil.ops.table import Array, mil


def per_channel(values: Array, rank: int) -> Array:
    """One value for each channel, the second dimension, or one for all."""
    return values.reshape(-1, *(1,) * (rank - 2)) if values.ndim else values


@mil()
def clamped_relu(x: Array, alpha: Array, beta: Array) -> Array:
    """min(beta, x) from 0 on, below it min(beta, alpha x)."""
    return np.minimum(beta, np.where(x >= 0, x, alpha * x))


@mil()
def elu(x: Array, alpha: Array) -> Array:
    """x above 0, otherwise alpha (e^x - 1)."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


@mil()
def gelu(x: Array, mode: str = "EXACT") -> Array:
    """The Gaussian error linear unit, exact or by one of two approximations."""
    if mode == "TANH_APPROXIMATION":
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi).astype(x.dtype) * (x + 0.044715 * x**3)))
    if mode == "SIGMOID_APPROXIMATION":
        return x * sigmoid(1.702 * x)
    return 0.5 * x * (1 + erf(x / np.sqrt(2).astype(x.dtype)))


@mil()
def leaky_relu(x: Array, alpha: Array) -> Array:
    """x from 0 on, below it alpha x."""
    return np.where(x >= 0, x, alpha * x)


@mil()
def linear_activation(x: Array, alpha: Array, beta: Array) -> Array:
    """alpha x + beta."""
    return x * alpha + beta


@mil()
def prelu(x: Array, alpha: Array) -> Array:
    """x above 0, otherwise alpha x, with an alpha for each channel."""
    return np.where(x > 0, x, per_channel(alpha, x.ndim) * x)


@mil()
def relu(x: Array) -> Array:
    """max(x, 0)."""
    return np.maximum(x, 0)


@mil()
def relu6(x: Array) -> Array:
    """x clipped to 0..6."""
    return np.minimum(np.maximum(x, 0), 6)


@mil()
def scaled_tanh(x: Array, alpha: Array, beta: Array) -> Array:
    """alpha tanh(beta x)."""
    return alpha * np.tanh(beta * x)


@mil()
def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x)."""
    return 1 / (1 + np.exp(-x))


@mil()
def sigmoid_hard(x: Array, alpha: Array, beta: Array) -> Array:
    """alpha x + beta, clipped to 0..1."""
    return np.minimum(np.maximum(alpha * x + beta, 0), 1)


@mil()
def silu(x: Array) -> Array:
    """x sigmoid(x)."""
    return x / (1 + np.exp(-x))


@mil()
def softplus(x: Array) -> Array:
    """log(1 + e^x)."""
    return np.logaddexp(x, np.zeros((), x.dtype))


@mil()
def softplus_parametric(x: Array, alpha: Array, beta: Array) -> Array:
    """alpha log(1 + e^(beta x)), with an alpha and a beta for each channel."""
    return per_channel(alpha, x.ndim) * softplus(per_channel(beta, x.ndim) * x)


@mil()
def softmax(x: Array, axis: int = -1) -> Array:
    """e^x by its sum along an axis."""
    e = np.exp(x - x.max(int(axis), keepdims=True, initial=-np.inf))
    return e / e.sum(int(axis), keepdims=True)


@mil()
def softsign(x: Array) -> Array:
    """x / (1 + |x|)."""
    return x / (1 + np.abs(x))


@mil()
def thresholded_relu(x: Array, alpha: Array) -> Array:
    """x from alpha on, below it 0."""
    return np.where(x >= alpha, x, 0)
