"""Operators that return the same values, or the same values in another arrangement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from coremltools.converters.mil._deployment_compatibility import AvailableTarget
from coremltools.converters.mil.frontend.torch import ops
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil.block import is_current_opset_version_compatible_with
from coremltools.converters.mil.mil.ops.defs._utils import promote_input_dtypes
from coremltools.converters.mil.mil.types.symbolic import is_symbolic

from stages.coreml.translations.nodes import argument, static, value

MOST_AXES = 5  # of a tensor of MIL


def tensor_split(context: Any, node: Any) -> None:
    """torch.tensor_split of a fixed size: into a number of parts, the first ones longer by one, or at given indices."""
    x = argument(context, node, 0, "self")
    sections = value(argument(context, node, 1, "sections" if "indices" not in (node.kwinputs or {}) else "indices"))
    axis = value(argument(context, node, 2, "dim")) or 0
    size = static(x, axis)
    if isinstance(sections, list):
        places = [min(max(i + size if i < 0 else i, 0), size) for i in sections]
        lengths = [max(b - a, 0) for a, b in zip([0, *places], [*places, size], strict=True)]
    else:
        lengths = [size // sections + (i < size % sections) for i in range(sections)]
    if 0 in lengths:
        raise ValueError(f"one of the parts of '{x.name}' would be empty, which MIL has no form for")
    context.add(mb.split(x=x, split_sizes=lengths, axis=axis, name=node.name), torch_name=node.name)


def constantchunk(context: Any, node: Any) -> None:
    """torch.chunk as torch.jit has it, of any size; the parts are the node's outputs."""
    x, axis, count = context[node.inputs[0]], node.attr["dim"], node.attr["chunks"]
    if not is_symbolic(x.shape[axis]):
        ops.constantchunk(context, node)
        return
    size = mb.gather(x=mb.shape(x=x), indices=[axis % x.rank], axis=0)
    length = mb.floor_div(x=mb.add(x=size, y=count - 1), y=count)
    for part, name in zip(_parts(x, axis, [length] * len(node.outputs)), node.outputs, strict=True):
        context.add(part, torch_name=name)


def split(context: Any, node: Any) -> None:
    """torch.split into parts of computed lengths; into known ones coremltools' own."""
    x, lengths = argument(context, node, 0, "self"), argument(context, node, 1, "split_sizes")
    axis = value(argument(context, node, 2, "dim")) or 0
    several = isinstance(lengths, list)
    known = all(getattr(n, "val", n) is not None for n in (lengths if several else [lengths]))
    every = (node.meta or {}).get("val")
    if not several and isinstance(every, list | tuple) and is_symbolic(x.shape[axis]):
        lengths, known = [lengths] * len(every), False
    if known or not isinstance(lengths, list):
        ops.split(context, node)
        return
    context.add(_parts(x, axis, lengths), torch_name=node.name)


def _parts(x: Any, axis: int, lengths: list[Any]) -> list[Any]:
    """Parts one after another, each of its length, or shorter at the end."""
    axis, begin, parts = axis % x.rank, [0], []
    every = [i != axis for i in range(x.rank)]
    for length in lengths:
        known = getattr(length, "val", length)
        step = [int(known)] if known is not None else mb.reshape(x=length, shape=[1])
        end = mb.add(x=begin, y=step)
        size = mb.gather(x=mb.shape(x=x), indices=[axis], axis=0)
        bounds = (
            mb.concat(values=[[0] if other else bound for other in every], axis=0)
            for bound in (begin, mb.minimum(x=end, y=size))
        )
        first, last = bounds
        parts.append(mb.slice_by_index(x=x, begin=first, end=last, begin_mask=every, end_mask=every))
        begin = end
    return parts


def index_copy(context: Any, node: Any) -> None:
    """torch.index_copy. Consecutive indices from a computed start become a slice update, where the opset has it.

    A cache is written this way. Core ML updates a slice of a state in place; for a scatter it copies the state.
    """
    x, axis = argument(context, node, 0, "self"), value(argument(context, node, 1, "dim"))
    places, updates = (argument(context, node, i, name) for i, name in ((2, "index"), (3, "source")))
    axis %= x.rank
    first = _first(places) if is_current_opset_version_compatible_with(AvailableTarget.iOS18) else None
    if first is None:
        context.add(mb.scatter(data=x, indices=places, updates=updates, axis=axis, mode="update", name=node.name))
        return
    others = [i != axis for i in range(x.rank)]
    count = mb.gather(x=mb.shape(x=updates), indices=[axis], axis=0)
    begin = mb.concat(values=[[0] if other else first for other in others], axis=0)
    end = mb.concat(values=[[0] if other else mb.add(x=first, y=count) for other in others], axis=0)
    context.add(mb.slice_update(x=x, update=updates, begin=begin, end=end, end_mask=others, name=node.name))


def _first(places: Any) -> Any:
    """The first of indices that are surely consecutive, [1]: a range plus a start; None for others."""
    if places.op is None or places.op.op_type != "add":
        return None
    for counted, before in ((places.op.x, places.op.y), (places.op.y, places.op.x)):
        op = counted.op
        if op is None or op.op_type != "range_1d" or before.rank > 1 or (before.rank and before.shape[0] != 1):
            continue
        if op.step.val == 1 and op.start.val == 0:
            return before if before.rank else mb.expand_dims(x=before, axes=[0])
    return None


def repeat_interleave(context: Any, node: Any) -> None:
    """torch.repeat_interleave by one number, along any axis and of any sizes: each slice that many times in a row."""
    x, count = argument(context, node, 0, "self"), _times(argument(context, node, 1, "repeats"))
    axis = value(argument(context, node, 2, "dim"))
    if isinstance(count, list):
        ops.repeat_interleave(context, node)
        return
    if axis is None:
        x, axis = mb.reshape(x=x, shape=[-1]), 0
    axis %= x.rank
    if not isinstance(count, int) or x.rank == MOST_AXES:  # no shape to be known, or no room for another axis
        size = mb.gather(x=mb.shape(x=x), indices=axis, axis=0)
        places = mb.range_1d(start=0, end=mb.mul(x=size, y=count), step=1)
        repeated = mb.gather(x=x, indices=mb.floor_div(x=places, y=count), axis=axis)
        context.add(mb.identity(x=repeated, name=node.name))
        return
    sizes = [mb.gather(x=mb.shape(x=x), indices=[i], axis=0) for i in range(x.rank)]
    sizes[axis] = mb.mul(x=sizes[axis], y=count)
    apart = mb.tile(
        x=mb.expand_dims(x=x, axes=[axis + 1]), reps=[count if i == axis + 1 else 1 for i in range(x.rank + 1)]
    )
    context.add(mb.reshape(x=apart, shape=mb.concat(values=sizes, axis=0), name=node.name))


def _times(repeats: Any) -> Any:
    """A number: a Python one where it is known, else a MIL variable without dimensions; or a list of different ones."""
    if getattr(repeats, "val", 0) is None and repeats.shape in ((), (1,)):
        return mb.squeeze(x=repeats) if repeats.rank else repeats
    known = value(repeats)
    return known[0] if isinstance(known, list) and len(set(known)) == 1 else known


def unfold(context: Any, node: Any) -> None:
    """torch.Tensor.unfold: the windows along one axis, with their elements in a new last axis.

    A result of six dimensions is a reshape, which rewrites/ranks.py merges with what follows.
    """
    x = argument(context, node, 0, "self")
    axis, size, step = (
        value(argument(context, node, 1 + i, name)) for i, name in enumerate(("dimension", "size", "step"))
    )
    axis %= x.rank
    if x.rank < MOST_AXES:
        context.add(_windows(x, axis, size, step, node.name))
        return
    sizes = [mb.gather(x=mb.shape(x=x), indices=[i], axis=0) if is_symbolic(n) else [n] for i, n in enumerate(x.shape)]
    before, after = (mb.concat(values=part, axis=0) if part else [] for part in (sizes[:axis], sizes[axis + 1 :]))
    merged = [mb.reduce_prod(x=part, axes=[0], keep_dims=True) if part else [1] for part in (before, after)]
    x = mb.reshape(x=x, shape=mb.concat(values=[merged[0], sizes[axis], merged[1]], axis=0))
    windows = _windows(x, 1, size, step)
    count = mb.gather(x=mb.shape(x=windows), indices=[1], axis=0)
    shape = mb.concat(values=[*sizes[:axis], count, *sizes[axis + 1 :], [size]], axis=0)
    context.add(mb.reshape(x=windows, shape=shape, name=node.name))


def _windows(x: Any, axis: int, size: int, step: int, name: str | None = None) -> Any:
    """The windows along an axis, with their elements in a new last axis."""
    length = x.shape[axis]
    if is_symbolic(length):
        length = mb.gather(x=mb.shape(x=x), indices=axis, axis=0)
    starts = mb.range_1d(start=0, end=mb.sub(x=length, y=size - 1), step=step)
    places = mb.add(x=mb.expand_dims(x=starts, axes=[1]), y=np.arange(size, dtype=np.int32)[None])
    windows = mb.gather(x=x, indices=places, axis=axis)
    order = [a for a in range(x.rank + 1) if a != axis + 1] + [axis + 1]
    return mb.transpose(x=windows, perm=order, **({"name": name} if name else {}))


def outer(context: Any, node: Any) -> None:
    """torch.outer, of vectors of one type or of two."""
    x, y = promote_input_dtypes([argument(context, node, 0, "self"), argument(context, node, 1, "vec2")])
    context.add(mb.mul(x=mb.expand_dims(x=x, axes=[1]), y=mb.expand_dims(x=y, axes=[0]), name=node.name))


def positive(context: Any, node: Any) -> None:
    """torch.positive, the same values as a separate variable, which each output needs."""
    context.add(mb.identity(x=argument(context, node, 0, "self"), name=node.name))


NAMES: Mapping[str, Callable[[Any, Any], None]] = {
    "alias": ops.noop,
    "constantchunk": constantchunk,
    "index_copy": index_copy,
    "outer": outer,
    "positive": positive,
    "repeat_interleave": repeat_interleave,
    "repeat_interleave.self_int": repeat_interleave,
    "swapaxes": ops.transpose,
    **dict.fromkeys(("split", "split_with_sizes"), split),
    "tensor_split": tensor_split,
    "unfold": unfold,
    # Where torch.export keeps the underscores, and where it does not.
    "__and__": ops.bitwise_and,
    **dict.fromkeys(("__or__", "or"), ops.logical_or),
    **dict.fromkeys(("__xor__", "xor"), ops.logical_xor),
}
