"""Transposed convolutions, and the windows that a convolution sees."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from coremltools.converters.mil.frontend.torch import ops
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil.ops.defs._utils import promote_input_dtypes
from coremltools.converters.mil.mil.types.type_mapping import nptype_from_builtin

from stages.coreml.translations.nodes import argument, static, value

# The arguments from the fourth on, by the form of the operator.
GENERAL = ("stride", "padding", "dilation", "transposed", "output_padding", "groups")
TRANSPOSED = ("stride", "padding", "output_padding", "groups", "dilation")


def convolution(context: Any, node: Any) -> None:
    """torch.nn.functional.conv_transpose of any rank with output_padding; for all others coremltools' own.

    The output is cut to size, or padded with zeros where output_padding exceeds the padding; the bias is added last.
    """
    names = TRANSPOSED if "transpose" in node.kind else GENERAL
    settings = {name: value(argument(context, node, 3 + i, name)) for i, name in enumerate(names)}
    further = settings["output_padding"] if settings.get("transposed", True) else None
    if not any(further or ()):
        ops._convolution(context, node)
        return
    x, weight = promote_input_dtypes([argument(context, node, 0, "input"), argument(context, node, 1, "weight")])
    bias, axes = argument(context, node, 2, "bias"), x.rank - 2

    def spread(name: str, unless: int) -> list[int]:
        numbers = settings[name] or [unless]
        return list(numbers) * axes if len(numbers) == 1 else list(numbers)

    padding = spread("padding", 0)
    result = mb.conv_transpose(
        x=x,
        weight=weight,
        strides=spread("stride", 1),
        dilations=spread("dilation", 1),
        groups=settings["groups"] or 1,
        pad_type="custom",
        pad=[0] * (2 * axes),
    )
    behind = [p - more for p, more in zip(padding, spread("output_padding", 0), strict=True)]
    if any(b < 0 for b in behind):
        result = mb.pad(x=result, pad=[0] * 4 + [n for b in behind for n in (0, max(-b, 0))], constant_val=0.0)
    result = mb.slice_by_index(
        x=result,
        begin=[0, 0, *padding],
        end=[0, 0, *(-max(b, 0) for b in behind)],
        end_mask=[True, True, *(b <= 0 for b in behind)],
    )
    if bias is not None:
        result = mb.add(x=result, y=mb.reshape(x=bias, shape=[1, -1, *[1] * axes]))
    context.add(result, node.name)


def im2col(context: Any, node: Any) -> None:
    """torch.nn.functional.unfold of a picture of any size, [N, C, H, W] to [N, C times window, windows].

    One convolution for each channel picks the numbers of its windows.
    """
    x = argument(context, node, 0, "self")
    names = ("kernel_size", "dilation", "padding", "stride")
    window, dilation, padding, stride = (value(argument(context, node, 1 + i, name)) for i, name in enumerate(names))
    channels, count = static(x, 1), math.prod(window)
    picks = np.eye(count).reshape(count, 1, *window)
    columns = mb.conv(
        x=x,
        weight=np.tile(picks, (channels, 1, 1, 1)).astype(nptype_from_builtin(x.dtype)),
        groups=channels,
        strides=stride,
        dilations=dilation,
        pad_type="custom",
        pad=[padding[0], padding[0], padding[1], padding[1]],
    )
    sizes = [mb.gather(x=mb.shape(x=x), indices=[0], axis=0), [channels * count], [-1]]
    context.add(mb.reshape(x=columns, shape=mb.concat(values=sizes, axis=0), name=node.name))


NAMES: Mapping[str, Callable[[Any, Any], None]] = {
    **dict.fromkeys(
        ("_convolution", "convolution", *(f"conv_transpose{n}d{form}" for n in (1, 2, 3) for form in ("", ".input"))),
        convolution,
    ),
    "im2col": im2col,
}
