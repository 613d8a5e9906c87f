"""Convolutions of one to three spatial dimensions. Source: iOS15 and iOS17 conv."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.coreml.mil.ops.table import Array, ints, mil, tensor

Pads = list[tuple[int, int]]


def pads(kind: str, custom: Any, sizes: Sequence[int], reach: Sequence[int], strides: Sequence[int]) -> Pads:
    """How many elements to pad before and after each spatial dimension.

    Args:
        kind: "valid", "custom", "same" or "same_lower": the last two give ceil(size / stride) outputs; an odd element
            comes after, or before.
        custom: The padding before and after each dimension in turn.
        sizes: The spatial sizes of x.
        reach: The extent of a window, with its dilation.
        strides: The strides of the windows.
    """
    if kind == "custom":
        flat = ints(custom)
        return list(zip(flat[::2], flat[1::2], strict=True))
    if kind == "valid":
        return [(0, 0)] * len(sizes)
    totals = [max(0, (-(-n // s) - 1) * s + k - n) for n, k, s in zip(sizes, reach, strides, strict=True)]
    if kind == "same":
        return [(t // 2, t - t // 2) for t in totals]
    return [(t - t // 2, t // 2) for t in totals]


def _reach(weight: Array, dilations: Sequence[int]) -> list[int]:
    return [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]


@mil()
def conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    strides: Any = None,
    pad_type: str = "valid",
    pad: Any = None,
    dilations: Any = None,
    groups: int = 1,
) -> Array:
    """Cross-correlation of x [n, C_in, *d] with weight [C_out, C_in / groups, *k]."""
    from torch.nn import functional

    ones = [1] * (x.ndim - 2)
    steps, spread = ints(ones if strides is None else strides), ints(ones if dilations is None else dilations)
    around = pads(pad_type, pad, x.shape[2:], _reach(weight, spread), steps)
    padded = tensor(x)
    even = all(before == after for before, after in around)
    if not even:
        padded = functional.pad(padded, [n for pair in reversed(around) for n in pair])
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[x.ndim - 3]
    return np.asarray(
        convolve(
            padded,
            tensor(weight),
            None if bias is None else tensor(bias),
            steps,
            [before for before, _ in around] if even else 0,
            spread,
            int(groups),
        )
    )


@mil()
def conv_transpose(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    pad: Any = None,
    output_shape: Any = None,
    pad_type: str = "valid",
    strides: Any = None,
    dilations: Any = None,
    groups: int = 1,
) -> Array:
    """The gradient of conv with weight [C_in, C_out / groups, *k].

    The full result is computed, and the pads are then cut off. Where an output shape is larger, the rest is only bias.
    """
    from torch.nn import functional

    ones = [1] * (x.ndim - 2)
    steps, spread = ints(ones if strides is None else strides), ints(ones if dilations is None else dilations)
    reach = _reach(weight, spread)
    whole = [(n - 1) * s + k for n, s, k in zip(x.shape[2:], steps, reach, strict=True)]
    target = None if output_shape is None else ints(output_shape)[-len(steps) :]
    if pad_type.startswith("same") and target is None:
        target = [n * s for n, s in zip(x.shape[2:], steps, strict=True)]
    around = pads(pad_type, pad, target or whole, reach, steps)
    sizes = target or [n - before - after for n, (before, after) in zip(whole, around, strict=True)]
    ways = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)
    transposed: Any = ways[x.ndim - 3]
    full = np.asarray(transposed(tensor(x), tensor(weight), stride=steps, groups=int(groups), dilation=spread))
    beyond = [max(0, b + n - w) for (b, _), n, w in zip(around, sizes, whole, strict=True)]
    full = np.pad(full, [(0, 0), (0, 0), *((0, n) for n in beyond)])
    spatial = (slice(b, b + n) for (b, _), n in zip(around, sizes, strict=True))
    cut = full[(slice(None), slice(None), *spatial)]
    return cut if bias is None else cut + bias.reshape(-1, *ones)
