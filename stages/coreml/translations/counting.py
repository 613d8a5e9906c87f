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


def diff(context: Any, node: Any) -> None:
    """torch.diff: each value minus the one before it, as often as is said; of bools, whether they differ."""
    x, times = argument(context, node, 0, "self"), value(argument(context, node, 1, "n"))
    axis = value(argument(context, node, 2, "dim"))
    before, behind = argument(context, node, 3, "prepend"), argument(context, node, 4, "append")
    axis = (-1 if axis is None else axis) % x.rank
    if parts := [v for v in (before, behind) if v is not None]:
        x = mb.concat(values=[*([before] if before is not None else []), x, *parts[before is not None :]], axis=axis)
    every = [a != axis for a in range(x.rank)]
    for _ in range(1 if times is None else times):
        ones = [0 if other else 1 for other in every]
        later = mb.slice_by_index(x=x, begin=ones, end=[0] * x.rank, end_mask=[True] * x.rank)
        earlier = mb.slice_by_index(x=x, begin=[0] * x.rank, end=[0 if o else -1 for o in every], end_mask=every)
        x = mb.logical_xor(x=later, y=earlier) if types.is_bool(x.dtype) else mb.sub(x=later, y=earlier)
    context.add(mb.identity(x=x, name=node.name))


NAMES: Mapping[str, Callable[[Any, Any], None]] = {"cumsum": cumsum, "diff": diff, "floordiv": floordiv}
