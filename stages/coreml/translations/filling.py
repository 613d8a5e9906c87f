"""Tensors filled with one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil.types import nptype_from_builtin, string_to_builtin

from stages.coreml.translations.nodes import argument, dtype, sizes
from stages.coreml.translations.nodes import value as constant


def _new(context: Any, node: Any, value_at: int | None, value: float = 0) -> None:
    """A tensor of one value, with a size and the requested type: a mask with the wrong type would fail later."""
    x, size = argument(context, node, 0, "self"), sizes(argument(context, node, 1, "size"))
    kind = dtype(argument(context, node, 2 if value_at is None else value_at + 1, "dtype"), x)
    filling = value if value_at is None else constant(argument(context, node, value_at, "fill_value"))
    typed = nptype_from_builtin(string_to_builtin(kind))(filling)
    if isinstance(size, list):
        context.add(mb.const(val=np.full(size, typed), name=node.name))
    else:
        context.add(mb.fill(shape=size, value=typed, name=node.name))


def _like(context: Any, node: Any, value_at: int | None, value: float = 0) -> None:
    """A tensor of one value, with the size of another tensor and the requested type."""
    x = argument(context, node, 0, "self")
    kind = dtype(argument(context, node, 1 if value_at is None else value_at + 1, "dtype"), x)
    filling = value if value_at is None else constant(argument(context, node, value_at, "fill_value"))
    typed = nptype_from_builtin(string_to_builtin(kind))(filling)
    context.add(mb.fill(shape=mb.shape(x=x), value=typed, name=node.name))


def zero(context: Any, node: Any) -> None:
    """torch.zero, to which torch.export turns zero_: zeros with the tensor's size and type."""
    x = argument(context, node, 0, "self")
    none = nptype_from_builtin(x.dtype)(0)
    context.add(mb.fill(shape=mb.shape(x=x), value=none, name=node.name))


NAMES: Mapping[str, Callable[[Any, Any], None]] = {
    "new_ones": lambda context, node: _new(context, node, None, 1),
    "new_zeros": lambda context, node: _new(context, node, None, 0),
    "new_full": lambda context, node: _new(context, node, 2),
    "ones_like": lambda context, node: _like(context, node, None, 1),
    "zeros_like": lambda context, node: _like(context, node, None, 0),
    "full_like": lambda context, node: _like(context, node, 1),
    "zero": zero,
}
