"""Paddings of computed widths, and those that go around: MIL has no operator for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from coremltools.converters.mil.frontend.torch import ops
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil.types import nptype_from_builtin

from stages.coreml.translations.nodes import argument, value


def pad(context: Any, node: Any) -> None:
    """torch.nn.functional.pad in any mode; where all widths are known, coremltools' own, but for circular ones.

    Each padded axis is gathered: the place that each new one is taken from is computed.
    """
    x, widths = argument(context, node, 0, "self"), argument(context, node, 1, "pad")
    if not isinstance(widths, list) and widths.val is None:
        widths = [mb.gather(x=widths, indices=i, axis=0) for i in range(widths.shape[0])]
    by_kind = node.kind == "pad"
    mode = (value(argument(context, node, 2, "mode")) if by_kind else None) or "constant"
    known = not isinstance(widths, list) or all(getattr(w, "val", w) is not None for w in widths)
    if known and mode != "circular":
        ops.pad(context, node)
        return
    widths = value(widths) if known else widths
    filling = value(argument(context, node, 3 if by_kind else 2, "value")) or 0
    for n in range(len(widths) // 2):
        before, after = (_integer(w) for w in widths[2 * n : 2 * n + 2])
        if (before, after) != (0, 0):
            x = _padded(x, x.rank - 1 - n, before, after, mode, filling)
    context.add(mb.identity(x=x, name=node.name))


def _integer(width: Any) -> Any:
    known = getattr(width, "val", width)
    if known is not None:
        return int(known)
    return mb.squeeze(x=width) if width.rank else width


def _padded(x: Any, axis: int, before: Any, after: Any, mode: str, filling: float) -> Any:
    size = mb.gather(x=mb.shape(x=x), indices=axis, axis=0)
    end = mb.add(x=size, y=after)
    places = mb.range_1d(start=mb.mul(x=_variable(before), y=-1), end=end, step=1)
    last = mb.sub(x=size, y=1)
    if mode == "constant":
        sizes = [mb.gather(x=mb.shape(x=x), indices=[i], axis=0) for i in range(x.rank)]
        sizes[axis] = [1]
        one_more = mb.fill(shape=mb.concat(values=sizes, axis=0), value=nptype_from_builtin(x.dtype)(filling))
        inside = mb.logical_and(x=mb.greater_equal(x=places, y=0), y=mb.less(x=places, y=size))
        inside = mb.cast(x=inside, dtype="int32")
        places = mb.add(x=mb.mul(x=inside, y=places), y=mb.mul(x=mb.sub(x=1, y=inside), y=size))
        x = mb.concat(values=[x, one_more], axis=axis)
    elif mode == "replicate":
        places = mb.minimum(x=mb.maximum(x=places, y=0), y=last)
    elif mode == "reflect":
        places = mb.sub(x=last, y=mb.abs(x=mb.sub(x=last, y=mb.abs(x=places))))
    else:
        places = mb.mod(x=places, y=size)
    return mb.gather(x=x, indices=places, axis=axis)


def _variable(width: Any) -> Any:
    return mb.const(val=width) if isinstance(width, int) else width


NAMES: Mapping[str, Callable[[Any, Any], None]] = dict.fromkeys(("pad", "constant_pad_nd"), pad)
