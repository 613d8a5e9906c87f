"""Values that are collected at the places that other values name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.ops.defs._utils import promote_input_dtypes
from coremltools.converters.mil.mil.types import nptype_from_builtin
from coremltools.converters.mil.mil.types.symbolic import is_symbolic

from stages.coreml.translations import SCATTERING
from stages.coreml.translations.nodes import argument, static, value

# By torch's name: MIL's mode, and the number that changes nothing.
REDUCTIONS = {"sum": ("add", 0), "mean": ("add", 0), "prod": ("mul", 1), "amax": ("max", -1), "amin": ("min", 1)}
EXTREMES = ("amax", "amin")
MODES = {None: "update", "add": "add", "multiply": "mul"}


def scatter_reduce(context: Any, node: Any) -> None:
    """torch.scatter_reduce, of indices with as many elements as the source."""
    x, source = promote_input_dtypes([argument(context, node, 0, "self"), argument(context, node, 3, "src")])
    axis, places = value(argument(context, node, 1, "dim")), argument(context, node, 2, "index")
    how = value(argument(context, node, 4, "reduce"))
    included = value(argument(context, node, 5, "include_self")) is not False
    mode, nothing = REDUCTIONS[how]
    kind = nptype_from_builtin(x.dtype)
    name = types.builtin_to_string(x.dtype)
    none, one = (mb.fill(shape=mb.shape(x=v), value=kind(n)) for v, n in ((x, 0), (source, 1)))
    counts = mb.scatter_along_axis(data=none, indices=places, updates=one, axis=axis, mode="add")
    if not included:
        neutral = kind(nothing * math.inf if how in EXTREMES else nothing)
        x = mb.select(cond=mb.greater(x=counts, y=kind(0)), a=mb.fill(shape=mb.shape(x=x), value=neutral), b=x)
    result = mb.scatter_along_axis(data=x, indices=places, updates=source, axis=axis, mode=mode)
    if how == "mean":
        of = mb.maximum(x=mb.add(x=counts, y=kind(included)), y=kind(1))
        result = mb.real_div(x=result, y=of) if types.is_float(x.dtype) else mb.floor_div(x=result, y=of)
    context.add(mb.cast(x=result, dtype=name, name=node.name))


def scatter(context: Any, node: Any) -> None:
    """torch.scatter of a tensor or of one value, which replaces, is added or multiplied."""
    x, places = argument(context, node, 0, "self"), argument(context, node, 2, "index")
    source = argument(context, node, 3, "src")
    source = argument(context, node, 3, "value") if source is None else source
    how = MODES[value(argument(context, node, 4, "reduce"))] if "scatter_add" not in node.kind else "add"
    if getattr(source, "rank", 0) == 0:
        source = mb.fill(shape=mb.shape(x=places), value=nptype_from_builtin(x.dtype)(value(source)))
    elif longer := [
        n for n, (of, at) in enumerate(zip(source.shape, places.shape, strict=True)) if of != at and not is_symbolic(at)
    ]:
        # Of a longer source, the first ones count.
        end = [static(places, n) if n in longer else 0 for n in range(places.rank)]
        every = [n not in longer for n in range(places.rank)]
        source = mb.slice_by_index(x=source, begin=[0] * places.rank, end=end, end_mask=every)
    axis = value(argument(context, node, 1, "dim"))
    context.add(mb.scatter_along_axis(data=x, indices=places, updates=source, axis=axis, mode=how, name=node.name))


def index_add(context: Any, node: Any) -> None:
    """torch.index_add: slices are added at places that may be the same."""
    x, source = promote_input_dtypes([argument(context, node, 0, "self"), argument(context, node, 3, "source")])
    factor = value(argument(context, node, 4, "alpha"))
    if factor not in (None, 1):
        source = mb.mul(x=source, y=nptype_from_builtin(x.dtype)(factor))
    axis, places = value(argument(context, node, 1, "dim")), argument(context, node, 2, "index")
    added = mb.scatter(data=x, indices=places, updates=source, axis=axis % x.rank, mode="add", name=node.name)
    context.add(added, torch_name=node.name)


NAMES: Mapping[str, Callable[[Any, Any], None]] = {
    **dict.fromkeys(("scatter_reduce", "scatter_reduce.two"), scatter_reduce),
    **dict.fromkeys(SCATTERING, scatter),
    "index_add": index_add,
}
