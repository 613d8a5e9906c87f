"""Resizing and pooling to a given size.

MIL has no bicubic resizing, no antialiasing and no windows of unequal length. All of these treat one axis after the
other, so a product with a matrix for each axis computes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from coremltools.converters.mil.frontend.torch import ops
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil.types.symbolic import any_symbolic

from stages.coreml.translations.nodes import along, argument, static, value


def upsample_bicubic2d(context: Any, node: Any) -> None:
    """torch.nn.functional.interpolate(mode="bicubic"), with and without antialiasing, of fixed sizes."""
    _resize(context, node, "_upsample_bicubic2d_aa" if "_aa" in node.kind else "upsample_bicubic2d")


def upsample_bilinear2d_aa(context: Any, node: Any) -> None:
    """torch.nn.functional.interpolate(mode="bilinear", antialias=True), of fixed sizes."""
    _resize(context, node, "_upsample_bilinear2d_aa")


def _resize(context: Any, node: Any, operator: str) -> None:
    x = argument(context, node, 0, "input")
    corners = bool(value(argument(context, node, 2, "align_corners")))
    size, scales = _target(context, node, x)
    for axis, (new, scale) in zip((-2, -1), zip(size, scales, strict=True), strict=True):
        matrix = _weights(operator, static(x, axis), new, scale, corners)
        x = along(x, matrix, axis)
    context.add(x, node.name)


def upsample_nearest2d(context: Any, node: Any) -> None:
    """torch.nn.functional.interpolate(mode="nearest").

    MIL places samples by the sizes, torch by the factors: where these give no integer size, torch's elements are used.
    """
    x = argument(context, node, 0, "input")
    if not any_symbolic(x.shape[-2:]):
        size, scales = _target(context, node, x, 2)
        pairs = list(zip((-2, -1), size, scales, strict=True))
        if any(scale is not None and static(x, axis) * scale != new for axis, new, scale in pairs):
            for axis, new, scale in pairs:
                x = mb.gather(x=x, indices=_nearest(static(x, axis), new, scale), axis=axis)
            context.add(x, node.name)
            return
    ops.upsample_nearest2d(context, node)


def _nearest(old: int, new: int, scale: float | None) -> Any:
    """The indices of the elements that torch chooses, [new]."""
    import torch

    places = torch.arange(old, dtype=torch.float64).reshape(1, 1, old)
    return torch.ops.aten.upsample_nearest1d(places, [new], scale).flatten().numpy().astype(np.int32)


def _target(context: Any, node: Any, x: Any, place: int = 3) -> tuple[list[int], list[float | None]]:
    """The new height and width, and the factors where the call has them. Source: native_functions.yaml, which has two
    forms of the operator, with a list of factors or with one for each axis."""
    size = value(argument(context, node, 1, "output_size"))
    factors = value(argument(context, node, place, "scale_factors"))
    if isinstance(factors, list) or node.kind.endswith(".vec"):
        scales = factors or [None, None]
    else:
        scales = [value(argument(context, node, place + i, f"scales_{axis}")) for i, axis in enumerate("hw")]
    if size is None:
        size = [int(static(x, axis) * scale) for axis, scale in zip((-2, -1), scales, strict=True)]
    return size, scales


def _weights(operator: str, old: int, new: int, scale: float | None, corners: bool) -> Any:
    """torch's result for each unit vector, [new, old]."""
    import torch

    # Along the last axis: with antialiasing, torch 2.15 is wrong for an image of one column.
    units = torch.eye(old, dtype=torch.float64).reshape(old, 1, 1, old)
    resize = getattr(torch.ops.aten, operator)
    return resize(units, [1, new], corners, None, scale)[:, 0, 0, :].T.numpy().astype(np.float32)


def adaptive_avg_pool(context: Any, node: Any) -> None:
    """torch.nn.functional.adaptive_avg_pool1d, 2d, 3d: the mean of all, or of windows of fixed sizes."""
    x = argument(context, node, 0, "self")
    output_sizes = value(argument(context, node, 1, "output_size"))
    if len(output_sizes) < 3 and not any_symbolic(x.shape):
        (ops.adaptive_avg_pool1d if len(output_sizes) == 1 else ops.adaptive_avg_pool2d)(context, node)
        return
    axes = list(range(-len(output_sizes), 0))
    if set(output_sizes) == {1}:
        context.add(mb.reduce_mean(x=x, axes=axes, keep_dims=True, name=node.name))
        return
    sizes = [static(x, axis) for axis in axes]
    new_sizes = [old if new is None else new for old, new in zip(sizes, output_sizes, strict=True)]
    steps = [old // new for old, new in zip(sizes, new_sizes, strict=True)]
    if x.rank == len(axes) + 2 and all(
        old == new * step for old, new, step in zip(sizes, new_sizes, steps, strict=True)
    ):
        if sizes != new_sizes:
            x = mb.avg_pool(x=x, kernel_sizes=steps, strides=steps, pad_type="valid")
        context.add(x, node.name)
        return
    for axis, old, new in zip(axes, sizes, new_sizes, strict=True):
        x = along(x, _means(old, new), axis) if new != old else x
    context.add(x, node.name)


def _means(old: int, new: int) -> Any:
    """The mean of each window as a row, [new, old]; windows go from floor(i·old/new) to ceil((i+1)·old/new)."""
    matrix = np.zeros((new, old), np.float32)
    for i in range(new):
        first, last = i * old // new, -(-(i + 1) * old // new)
        matrix[i, first:last] = 1 / (last - first)
    return matrix


NAMES: Mapping[str, Callable[[Any, Any], None]] = {
    "upsample_nearest2d": upsample_nearest2d,
    "upsample_nearest2d.vec": upsample_nearest2d,
    "upsample_bicubic2d": upsample_bicubic2d,
    "upsample_bicubic2d.vec": upsample_bicubic2d,
    "_upsample_bicubic2d_aa": upsample_bicubic2d,
    "_upsample_bicubic2d_aa.vec": upsample_bicubic2d,
    "_upsample_bilinear2d_aa": upsample_bilinear2d_aa,
    "_upsample_bilinear2d_aa.vec": upsample_bilinear2d_aa,
    **dict.fromkeys((f"{private}adaptive_avg_pool{n}d" for private in ("", "_") for n in (1, 2, 3)), adaptive_avg_pool),
}
