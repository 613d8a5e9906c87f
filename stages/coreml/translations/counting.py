"""Arithmetic of sizes, and sums up to each place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import types

from stages.coreml.translations.nodes import argument, dtype, value


def floordiv(context: Any, node: Any) -> None:
    """Python's // of two sizes; the result is an integer."""
    context.add(mb.floor_div(x=argument(context, node, 0, "a"), y=argument(context, node, 1, "b"), name=node.name))


def cumsum(context: Any, node: Any) -> None:
    """torch.cumsum along any axis, in the requested type; of bools, of integers."""
    x, axis = argument(context, node, 0, "self"), value(argument(context, node, 1, "dim"))
    number = argument(context, node, 2, "dtype")
    kind = "int32" if number is None and types.is_bool(x.dtype) else dtype(number, x)
    if types.builtin_to_string(x.dtype) != kind:
        x = mb.cast(x=x, dtype=kind)
    context.add(mb.cumsum(x=x, axis=axis % x.rank, name=node.name))


NAMES: Mapping[str, Callable[[Any, Any], None]] = {"cumsum": cumsum, "floordiv": floordiv}
