"""Pooling in ceil mode, with windows that reach beyond the edge.

torch drops a window that begins behind the tensor. Core ML keeps it where there is no padding, and divides an average
by the whole kernel where torch divides by the part inside. So these translations use explicit padding and no ceil mode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from coremltools.converters.mil.frontend.torch import ops
from coremltools.converters.mil.frontend.torch.utils import TorchFrontend
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

from stages.coreml.translations.nodes import argument, static, value


def avg_pool(context: Any, node: Any) -> None:
    """torch.nn.functional.avg_pool of any rank.

    In ceil mode, padding that counts is part of the tensor: only what reaches beyond it is excluded.

    Source: https://github.com/apple/coremltools/issues/2772
    """
    x, kernel, strides, padding = _windows(context, node)
    ceil = bool(value(argument(context, node, 4, "ceil_mode")))
    counted = value(argument(context, node, 5, "count_include_pad"))
    if value(argument(context, node, 6, "divisor_override")) is not None:
        raise ValueError("a divisor of its own (divisor_override) is not supported")
    included = counted is None or bool(counted)
    if not ceil:
        spans = (np.array(v, np.int32) for v in (kernel, strides, padding))
        ops._avg_pool(context, node, [x, *(mb.const(val=v) for v in (*spans, False, included))])
        return
    before, behind = padding, _behind(kernel, strides, padding)
    if included and any(padding):
        around = [0] * (2 * (x.rank - len(kernel))) + [p for p in padding for _ in range(2)]
        x = mb.pad(x=x, pad=around, mode="constant", constant_val=np.float32(0))
        before, behind = [0] * len(kernel), [b - p for b, p in zip(behind, padding, strict=True)]
    pooled = mb.avg_pool(x=x, exclude_padding_from_average=True, **_around(kernel, strides, before, behind))
    context.add(pooled, node.name)


def max_pool(context: Any, node: Any) -> None:
    """torch.nn.functional.max_pool of any rank."""
    if not value(argument(context, node, 5, "ceil_mode")):
        ops.max_pool1d(context, node)
        return
    x, kernel, strides, padding = _windows(context, node)
    if any(step > 1 for step in value(argument(context, node, 4, "dilation")) or ()):
        raise ValueError("windows with holes (dilation) are not supported")
    pooled = mb.max_pool(x=x, **_around(kernel, strides, padding, _behind(kernel, strides, padding)))
    context.add((pooled, None) if "_with_indices" in node.kind else pooled, torch_name=node.name)


def adaptive_max_pool(context: Any, node: Any) -> None:
    """torch.nn.functional.adaptive_max_pool of known sizes: along each axis, the largest of each window."""
    x, sizes = argument(context, node, 0, "self"), value(argument(context, node, 1, "output_size"))
    sizes = sizes if isinstance(sizes, list) else [sizes]
    for axis, count in enumerate(sizes, x.rank - len(sizes)):
        size = static(x, axis)
        if count in (None, size):
            continue
        windows = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
        every = [i != axis for i in range(x.rank)]
        parts = [
            mb.slice_by_index(
                x=x,
                begin=[0 if other else begin for other in every],
                end=[0 if other else end for other in every],
                begin_mask=every,
                end_mask=every,
            )
            for begin, end in windows
        ]
        of_each = [mb.reduce_max(x=part, axes=[axis], keep_dims=True) for part in parts]
        x = mb.concat(values=of_each, axis=axis) if count > 1 else of_each[0]
    largest = mb.identity(x=x)
    several = context.frontend != TorchFrontend.TORCHSCRIPT  # where a node has one value, not one name for each output
    context.add((largest, None) if several else largest, torch_name=node.name)


def _windows(context: Any, node: Any) -> tuple[Any, list[int], list[int], list[int]]:
    """The input, and the windows' sizes, strides and padding, one number for each dimension."""
    x, kernel = argument(context, node, 0, "self"), value(argument(context, node, 1, "kernel_size"))
    strides = value(argument(context, node, 2, "stride")) or kernel
    padding = value(argument(context, node, 3, "padding")) or [0]
    return x, *(v * len(kernel) if len(v) == 1 else v for v in (kernel, strides, padding))


def _behind(kernel: Sequence[int], strides: Sequence[int], padding: Sequence[int]) -> list[int]:
    """The padding behind that gives as many windows as torch has in ceil mode, for every size."""
    return [min(k, s + p) - 1 for k, s, p in zip(kernel, strides, padding, strict=True)]


def _around(kernel: list[int], strides: list[int], before: list[int], behind: list[int]) -> dict[str, Any]:
    pad = [p for pair in zip(before, behind, strict=True) for p in pair]
    return {"kernel_sizes": kernel, "strides": strides, "pad_type": "custom", "pad": pad}


NAMES: Mapping[str, Callable[[Any, Any], None]] = {
    **dict.fromkeys((f"adaptive_max_pool{n}d" for n in (1, 2, 3)), adaptive_max_pool),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), avg_pool),
    **dict.fromkeys((f"max_pool{n}d{suffix}" for n in (1, 2, 3) for suffix in ("", "_with_indices")), max_pool),
}
