"""Tensors filled with one value, or with ones on the diagonal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from coremltools.converters.mil.frontend.torch.ops import _get_inputs
from coremltools.converters.mil.frontend.torch.utils import TorchFrontend
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil.types import nptype_from_builtin, string_to_builtin

from stages.coreml.translations.nodes import argument, dtype, sizes
from stages.coreml.translations.nodes import value as constant

WITH_COLUMNS = 6  # arguments of torch.jit's eye(n, m, dtype, layout, device, pin_memory)


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


def eye(context: Any, node: Any) -> None:
    """torch.eye of known or computed sizes, in the requested type."""
    inputs = [i for i in _get_inputs(context, node) if i is not None]
    columns_given = node.kind == "eye.m" or (
        context.frontend == TorchFrontend.TORCHSCRIPT and len(node.inputs) == WITH_COLUMNS
    )
    ends = inputs[: 1 + columns_given]
    number = argument(context, node, 1 + columns_given, "dtype")
    kind = "fp32" if number is None else dtype(number, None)
    rows, columns = (mb.range_1d(start=0, end=ends[n], step=1) for n in (0, -1))
    diagonal = mb.equal(x=mb.expand_dims(x=rows, axes=[1]), y=mb.expand_dims(x=columns, axes=[0]))
    context.add(mb.cast(x=diagonal, dtype=kind, name=node.name))


NAMES: Mapping[str, Callable[[Any, Any], None]] = {
    "new_ones": lambda context, node: _new(context, node, None, 1),
    "new_zeros": lambda context, node: _new(context, node, None, 0),
    "new_full": lambda context, node: _new(context, node, 2),
    "ones_like": lambda context, node: _like(context, node, None, 1),
    "zeros_like": lambda context, node: _like(context, node, None, 0),
    "full_like": lambda context, node: _like(context, node, 1),
    "zero": zero,
    **dict.fromkeys(("eye", "eye.m"), eye),
}
