"""Divisions to whose divisor MIL's own operators add an epsilon, and rounded divisions.

coremltools removes a floor_div by 1, which is right only for integers. So floating-point numbers are divided first and
rounded afterwards.

Source: https://github.com/apple/coremltools/issues/2836
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from coremltools.converters.mil.frontend.torch import ops
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.ops.defs._utils import promote_input_dtypes

from stages.coreml.translations.nodes import argument, value

# MIL's rsqrt always adds an epsilon: use the smallest normal number.
LEAST = float(np.finfo(np.float32).tiny)


def reciprocal(context: Any, node: Any) -> None:
    """torch.reciprocal, also for a captured `1 / x`. MIL's inverse would be 1 / (x + 1e-4)."""
    context.add(mb.real_div(x=np.float32(1), y=_floating(argument(context, node, 0, "self")), name=node.name))


def rsqrt(context: Any, node: Any) -> None:
    """torch.rsqrt. MIL's own adds 1e-12 by default."""
    context.add(mb.rsqrt(x=_floating(argument(context, node, 0, "self")), epsilon=LEAST, name=node.name))


def remainder(context: Any, node: Any) -> None:
    """torch.remainder, with the sign of the divisor."""
    x, y = _both(context, node)
    context.add(mb.sub(x=x, y=mb.mul(x=_floored(x, y), y=y), name=node.name))


def fmod(context: Any, node: Any) -> None:
    """torch.fmod, with the sign of the dividend: computed from magnitudes."""
    x, y = _both(context, node)
    size, by = mb.abs(x=x), mb.abs(x=y)
    rest = mb.sub(x=size, y=mb.mul(x=_floored(size, by), y=by))
    context.add(mb.mul(x=rest, y=mb.sign(x=x), name=node.name))


def floor_divide(context: Any, node: Any) -> None:
    """torch.floor_divide; of integers an integer."""
    context.add(mb.identity(x=_floored(*_both(context, node)), name=node.name))


def div(context: Any, node: Any) -> None:
    """torch.div with rounding_mode="floor"; for all others coremltools' own."""
    if value(argument(context, node, 2, "rounding_mode")) == "floor":
        floor_divide(context, node)
    else:
        ops.div(context, node)


def round_(context: Any, node: Any) -> None:
    """torch.round, to a number of decimals too."""
    x, decimals = argument(context, node, 0, "self"), value(argument(context, node, 1, "decimals")) or 0
    scale = np.float32(10.0 ** abs(decimals))
    if decimals > 0:
        rounded = mb.real_div(x=mb.round(x=mb.mul(x=x, y=scale)), y=scale)
    elif decimals < 0:
        rounded = mb.mul(x=mb.round(x=mb.real_div(x=x, y=scale)), y=scale)
    else:
        rounded = mb.round(x=x)
    context.add(mb.identity(x=rounded, name=node.name))


def right_shift(context: Any, node: Any) -> None:
    """torch's >> of integers by a known number: a division that rounds down."""
    x, by = argument(context, node, 0, "self"), value(argument(context, node, 1, "other"))
    context.add(mb.floor_div(x=x, y=np.int32(2**by), name=node.name))


def left_shift(context: Any, node: Any) -> None:
    """torch's << of integers by a known number."""
    x, by = argument(context, node, 0, "self"), value(argument(context, node, 1, "other"))
    context.add(mb.mul(x=x, y=np.int32(2**by), name=node.name))


def _both(context: Any, node: Any) -> tuple[Any, Any]:
    """Dividend and divisor, promoted to one type."""
    x, y = promote_input_dtypes([argument(context, node, 0, "self"), argument(context, node, 1, "other")])
    return x, y


def _floored(x: Any, y: Any) -> Any:
    return mb.floor(x=mb.real_div(x=x, y=y)) if types.is_float(x.dtype) else mb.floor_div(x=x, y=y)


def _floating(x: Any) -> Any:
    return x if types.is_float(x.dtype) else mb.cast(x=x, dtype="fp32")


NAMES: Mapping[str, Callable[[Any, Any], None]] = {
    "div": div,
    "floor_divide": floor_divide,
    "fmod": fmod,
    "reciprocal": reciprocal,
    # torch.export has Python's % of sizes by this name.
    **dict.fromkeys(("mod", "remainder"), remainder),
    **dict.fromkeys(("round", "round.decimals"), round_),
    **dict.fromkeys(("__rshift__", "rshift", "bitwise_right_shift", "bitwise_right_shift.tensor_scalar"), right_shift),
    **dict.fromkeys(("__lshift__", "lshift", "bitwise_left_shift", "bitwise_left_shift.tensor_scalar"), left_shift),
    "rsqrt": rsqrt,
}
