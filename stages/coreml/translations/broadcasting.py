"""Tensors that are expanded to a larger shape, without losing what is known of the sizes that stay.

coremltools computes how often to repeat each dimension by floating-point division, after which no size is known: a
layer that needs a fixed size, such as attention, then refuses the tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from coremltools.converters.mil.frontend._utils import pymil_broadcast_shapes, pymil_broadcast_to
from coremltools.converters.mil.frontend.torch.ops import _get_inputs
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil.types.symbolic import is_symbolic

from stages.coreml.translations.nodes import argument, sizes


def expand(context: Any, node: Any) -> None:
    """torch.Tensor.expand; -1 keeps a size."""
    context.add(_expanded(argument(context, node, 0, "self"), sizes(argument(context, node, 1, "size")), node.name))


def expand_as(context: Any, node: Any) -> None:
    """torch.Tensor.expand_as."""
    x, other = argument(context, node, 0, "self"), argument(context, node, 1, "other")
    context.add(_expanded(x, mb.shape(x=other), node.name))


def broadcast_tensors(context: Any, node: Any) -> None:
    """torch.broadcast_tensors: a list of tensors of one shape."""
    (tensors,) = _get_inputs(context, node, expected=1)
    shape = pymil_broadcast_shapes([list(x.shape) for x in tensors])
    together = mb.concat(values=[_entry(tensors, i - len(shape), size) for i, size in enumerate(shape)], axis=0)
    context.add([_expanded(x, together) for x in tensors], torch_name=node.name)


def _entry(tensors: Sequence[Any], axis: int, size: Any) -> Any:
    """A size of a shape, [1], from a tensor that has it at that axis, which is counted from the end."""
    if not is_symbolic(size):
        return [size]
    x = next(x for x in tensors if x.rank >= -axis and x.shape[axis] == size)
    return mb.gather(x=mb.shape(x=x), indices=[x.rank + axis], axis=0)


def _expanded(x: Any, shape: Any, name: str | None = None) -> Any:
    """A tensor that is expanded to a shape: integers, or a variable of one dimension."""
    named = {"name": name} if name else {}
    shape = mb.const(val=shape) if isinstance(shape, list) else shape
    known = shape.sym_val
    if known is None:
        return pymil_broadcast_to(x, shape, name)
    if len(known) > x.rank:
        x = mb.expand_dims(x=x, axes=list(range(len(known) - x.rank)))
    repeats: list[Any] = []
    for axis, (size, wanted) in enumerate(zip(x.shape, known, strict=True)):
        entry = mb.gather(x=shape, indices=[axis], axis=0) if is_symbolic(wanted) else [int(wanted)]
        if wanted in (-1, size):
            repeats.append([1])
        elif size == 1:
            repeats.append(entry)
        else:  # one size by two names, or 1
            repeats.append(mb.floor_div(x=entry, y=mb.gather(x=mb.shape(x=x), indices=[axis], axis=0)))
    if repeats == [[1]] * x.rank:
        return mb.identity(x=x, **named)
    return mb.tile(x=x, reps=mb.concat(values=repeats, axis=0), **named)


NAMES: Mapping[str, Callable[[Any, Any], None]] = {
    "broadcast_tensors": broadcast_tensors,
    "expand": expand,
    "expand_as": expand_as,
}
