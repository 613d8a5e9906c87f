"""Tensors that are made of one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil.types import nptype_from_builtin, string_to_builtin

from stages.coreml.translations.nodes import argument, dtype, sizes


def new_ones(context: Any, node: Any) -> None:
    """Tensor.new_ones, in the type that is asked for: a mask that became float would fail in what takes booleans."""
    x, size = argument(context, node, 0, "self"), sizes(argument(context, node, 1, "size"))
    kind = dtype(argument(context, node, 2, "dtype"), x)
    one = nptype_from_builtin(string_to_builtin(kind))(1)
    if isinstance(size, list):
        context.add(mb.const(val=np.full(size, one), name=node.name))
    else:
        context.add(mb.fill(shape=size, value=one, name=node.name))


def zero(context: Any, node: Any) -> None:
    """torch.zero, which torch.export makes of zero_: as much nothing as there is of the tensor, in its type."""
    x = argument(context, node, 0, "self")
    none = nptype_from_builtin(x.dtype)(0)
    context.add(mb.fill(shape=mb.shape(x=x), value=none, name=node.name))


NAMES: Mapping[str, Callable[[Any, Any], None]] = {"new_ones": new_ones, "zero": zero}
