"""Means of windows that reach beyond the edge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from coremltools.converters.mil.frontend.torch import ops
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

from stages.coreml.translations.nodes import argument, static, value


def avg_pool(context: Any, node: Any) -> None:
    """torch.nn.functional.avg_pool of any rank.

    In ceil mode the last window may reach beyond the edge. torch divides it by what is inside, the padding included;
    Core ML by the whole kernel, unless padding is excluded. So what is padded is padded beforehand, and nothing counts
    but what is there then.

    Source: https://github.com/apple/coremltools/issues/2772
    """
    x, kernel = argument(context, node, 0, "self"), value(argument(context, node, 1, "kernel_size"))
    strides = value(argument(context, node, 2, "stride")) or kernel
    padding = value(argument(context, node, 3, "padding")) or [0] * len(kernel)
    ceil = bool(value(argument(context, node, 4, "ceil_mode")))
    counted = value(argument(context, node, 5, "count_include_pad"))
    if value(argument(context, node, 6, "divisor_override")) is not None:
        raise ValueError("a divisor of its own (divisor_override) is not supported")
    included = counted is None or bool(counted)
    if ceil and included and any(padding):
        _padded_first(context, node, x, kernel, strides, padding)
        return
    spans = (np.array(v, np.int32) for v in (kernel, strides, padding))
    ops._avg_pool(context, node, [x, *(mb.const(val=v) for v in (*spans, ceil, included and not ceil))])


def _padded_first(context: Any, node: Any, x: Any, kernel: Any, strides: Any, padding: Any) -> None:
    """In ceil mode, with padding that counts. A window that begins in the padding behind is none of torch's."""
    rank = len(kernel)
    windows = []
    for axis, (k, s, p) in enumerate(zip(kernel, strides, padding, strict=True)):
        size = static(x, x.rank - rank + axis)
        count = -(-(size + 2 * p - k) // s) + 1
        windows.append(count - 1 if (count - 1) * s >= size + p else count)
    around = [0] * (2 * (x.rank - rank)) + [p for p in padding for _ in range(2)]
    padded = mb.pad(x=x, pad=around, mode="constant", constant_val=np.float32(0))
    pooled = mb.avg_pool(
        x=padded,
        kernel_sizes=kernel,
        strides=strides,
        pad_type="custom",
        pad=[0] * (2 * rank),
        exclude_padding_from_average=True,
        ceil_mode=True,
    )
    outer = x.rank - rank
    mask = [True] * outer + [False] * rank
    result = mb.slice_by_index(x=pooled, begin=[0] * x.rank, end=[0] * outer + windows, end_mask=mask, begin_mask=mask)
    context.add(result, node.name)


NAMES: Mapping[str, Callable[[Any, Any], None]] = dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), avg_pool)
