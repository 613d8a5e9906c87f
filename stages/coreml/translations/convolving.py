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


def col2im(context: Any, node: Any) -> None:
    """torch.nn.functional.fold to a picture of known size: windows that overlap are added.

    One transposed convolution for each channel puts every number where it belongs.
    """
    x = argument(context, node, 0, "self")
    names = ("output_size", "kernel_size", "dilation", "padding", "stride")
    size, window, dilation, padding, stride = (value(argument(context, node, 1 + i, n)) for i, n in enumerate(names))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    around = [n + 2 * p for n, p in zip(size, padding, strict=True)]
    steps = [(n - r) // s + 1 for n, r, s in zip(around, reach, stride, strict=True)]
    count = math.prod(window)
    channels = static(x, 1) // count
    sizes = [mb.gather(x=mb.shape(x=x), indices=[0], axis=0), [channels * count], [steps[0]], [steps[1]]]
    puts = np.tile(np.eye(count).reshape(count, 1, *window), (channels, 1, 1, 1))
    picture = mb.conv_transpose(
        x=mb.reshape(x=x, shape=mb.concat(values=sizes, axis=0)),
        weight=puts.astype(nptype_from_builtin(x.dtype)),
        groups=channels,
        strides=stride,
        dilations=dilation,
        pad_type="valid",
    )
    behind = [n - (s * (c - 1) + r) for n, s, c, r in zip(around, stride, steps, reach, strict=True)]
    if any(behind):
        picture = mb.pad(x=picture, pad=[0, 0, 0, 0, 0, behind[0], 0, behind[1]], constant_val=0.0)
    end = [0, 0, *(p + n for p, n in zip(padding, size, strict=True))]
    inner = mb.slice_by_index(x=picture, begin=[0, 0, *padding], end=end, end_mask=[True, True, False, False])
    context.add(mb.identity(x=inner, name=node.name))


NAMES: Mapping[str, Callable[[Any, Any], None]] = {
    **dict.fromkeys(
        ("_convolution", "convolution", *(f"conv_transpose{n}d{form}" for n in (1, 2, 3) for form in ("", ".input"))),
        convolution,
    ),
    "col2im": col2im,
    "im2col": im2col,
}
