"""Products of matrices. Source: iOS15 linear, iOS18 transformers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from stages.coreml.mil.ops.activation import softmax
from stages.coreml.mil.ops.table import Array, mil, tensor


def product(x: Array, y: Array) -> Array:
    """numpy's matmul; for floating-point numbers torch's, which broadcasts the same way and is faster.

    From iOS17 on only one of the two may be integers.
    """
    import torch

    if not x.dtype.kind == y.dtype.kind == "f":
        return np.matmul(x, y)
    return np.asarray(torch.matmul(tensor(x), tensor(y)))


@mil()
def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """x weight^T + bias."""
    y = product(x, weight.T)
    return y if bias is None else y + bias


@mil()
def matmul(x: Array, y: Array, transpose_x: bool = False, transpose_y: bool = False) -> Array:
    """The product of the last two dimensions, the others broadcast; a vector is not transposed."""
    left = x.swapaxes(-1, -2) if transpose_x and x.ndim > 1 else x
    right = y.swapaxes(-1, -2) if transpose_y and y.ndim > 1 else y
    return product(left, right)


@mil()
def einsum(values: list[Array], equation: str) -> Array:
    """The Einstein sum of two tensors."""
    import torch

    return np.asarray(torch.einsum(equation, *map(tensor, values)))


@mil()
def scaled_dot_product_attention(query: Array, key: Array, value: Array, attn_mask: Any = None) -> Array:
    """softmax(query key^T / sqrt(E) + mask) value; False in a boolean mask excludes an element."""
    scores = product(query, key.swapaxes(-1, -2)) / np.float32(math.sqrt(query.shape[-1]))
    if attn_mask is not None:
        added = np.where(attn_mask, 0, -np.inf) if attn_mask.dtype == bool else attn_mask
        scores = scores + added.astype(scores.dtype)
    return product(softmax(scores), value)
