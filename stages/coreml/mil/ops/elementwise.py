"""Elementwise operations, of one tensor or of two with broadcasting. Source: iOS15 and iOS17 elementwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from stages.coreml.mil.ops.table import Array, mil, tensor

# MIL's names of types that differ from numpy's.
NAMES = {"fp16": "float16", "fp32": "float32", "fp64": "float64"}

UNARY: dict[str, Callable[[Array], Array]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "asin": np.arcsin,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "exp": np.exp,
    "exp2": np.exp2,
    "floor": np.floor,
    "logical_not": np.logical_not,
    "round": np.rint,  # halves to even
    "sign": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "square": np.square,
    "tan": np.tan,
    "tanh": np.tanh,
}
BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "equal": np.equal,
    "floor_div": np.floor_divide,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "mod": np.mod,  # the sign of y
    "mul": np.multiply,
    "not_equal": np.not_equal,
    "pow": np.power,
    "real_div": np.true_divide,
    "sub": np.subtract,
}


def _unary(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda x: function(x)


def _binary(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    return lambda x, y: function(x, y)


for _name, _function in UNARY.items():
    mil(_name)(_unary(_function))
for _name, _of_two in BINARY.items():
    mil(_name)(_binary(_of_two))


@mil()
def cast(x: Array, dtype: str) -> Array:
    """To another type: to an integer by truncation; to a bool: not 0."""
    return x != 0 if dtype == "bool" else x.astype(NAMES.get(dtype, dtype))


@mil()
def clip(x: Array, alpha: Array, beta: Array) -> Array:
    """x clipped to alpha..beta; NaN stays."""
    return np.minimum(np.maximum(x, alpha), beta)


@mil()
def threshold(x: Array, alpha: Array) -> Array:
    """x, at least alpha."""
    return np.maximum(x, alpha)


@mil()
def erf(x: Array) -> Array:
    """The error function."""
    import torch

    return np.asarray(torch.erf(tensor(x)))


@mil()
def inverse(x: Array, epsilon: float = 1e-4) -> Array:
    """1 / (x + epsilon)."""
    return 1 / (x + epsilon)


@mil()
def log(x: Array, epsilon: float = 1e-45) -> Array:
    """The natural logarithm of x + epsilon."""
    return np.log(x + np.asarray(epsilon, x.dtype))


@mil()
def rsqrt(x: Array, epsilon: float = 1e-12) -> Array:
    """1 / sqrt(x + epsilon)."""
    return 1 / np.sqrt(x + epsilon)


@mil(exact=True)
def select(cond: Array, a: Any, b: Any) -> Array:
    """a where cond holds, b elsewhere."""
    return np.where(cond, a, b)


@mil("identity", exact=True)
def identity(x: Any) -> Any:
    """x."""
    return x
