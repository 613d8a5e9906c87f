"""Choices between values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from coremltools.converters.mil.frontend.torch import ops
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.ops.defs._utils import promote_input_dtypes
from coremltools.converters.mil.mil.types.symbolic import any_symbolic

from stages.coreml.translations.nodes import argument


def where(context: Any, node: Any) -> None:
    """torch.where of dynamic sizes; values are first broadcast to the condition's shape.

    coremltools ignores the condition's shape in the type of MIL's select: a mask made of two numbers would be a scalar
    in the program.
    """
    condition, a, b = (argument(context, node, i, name) for i, name in enumerate(("condition", "self", "other")))
    if a is None or not any(any_symbolic(v.shape) for v in (condition, a, b)):
        ops.where(context, node)
        return
    a, b = promote_input_dtypes([a, b])
    condition = mb.cast(x=condition, dtype="bool")
    if not _covers(condition, a) and not _covers(condition, b):
        a = _spread(a, condition)
    context.add(mb.select(cond=condition, a=a, b=b, name=node.name))


def _covers(condition: Any, v: Any) -> bool:
    """Whether a value already covers the condition's shape, for all sizes."""
    inner = v.shape[len(v.shape) - len(condition.shape) :]
    fits = len(v.shape) >= len(condition.shape)
    return fits and all(c in (1, d) for c, d in zip(condition.shape, inner, strict=True))


def _spread(v: Any, condition: Any) -> Any:
    """The value, broadcast to the condition's shape by adding zeros of that shape."""
    if types.is_bool(v.dtype):
        return mb.logical_or(x=v, y=mb.logical_xor(x=condition, y=condition))
    nothing = mb.cast(x=mb.logical_xor(x=condition, y=condition), dtype=types.builtin_to_string(v.dtype))
    return mb.add(x=v, y=nothing)


NAMES: Mapping[str, Callable[[Any, Any], None]] = dict.fromkeys(
    ("where", "where.self", "where.scalarself", "where.scalarother"), where
)
