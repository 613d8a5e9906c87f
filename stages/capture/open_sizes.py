"""Decomposes operators that torch's decompositions and exporters take for known sizes where the sizes are open.

Torch's own decomposition of an adaptive pool asks whether a size is divisible, and keeps the answer for the example's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PLANE = 2  # dimensions: torch has no decomposition of volumes


def adaptive_avg_pool(x: Any, output_size: Sequence[Any]) -> Any:
    """The means of windows, by a product with a matrix for each dimension that is pooled.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveAvgPool2d.html
    """
    import torch

    operator = torch.ops.aten._adaptive_avg_pool2d.default
    if len(output_size) == PLANE and (pooled := _torch_does(operator, x, output_size)) is not NotImplemented:
        return pooled
    for dim, out in enumerate(output_size, x.dim() - len(output_size)):
        inside = _windows(x.shape[dim], out).to(x.dtype)
        x = (x.movedim(dim, -1) @ (inside / inside.sum(1, keepdim=True)).T).movedim(-1, dim)
    return x


def adaptive_max_pool(x: Any, output_size: Sequence[Any]) -> Any:
    """The largest values of windows, and their places in the picture, row by row."""
    import torch

    if (pooled := _torch_does(torch.ops.aten.adaptive_max_pool2d.default, x, output_size)) is not NotImplemented:
        return pooled
    of_rows, columns = _largest(x, output_size[1])  # [..., row, window]
    values, rows = _largest(of_rows.mT, output_size[0])
    columns = columns.mT.gather(-1, rows)
    return values.mT, (rows * x.shape[-1] + columns).mT


def _largest(x: Any, out: Any) -> tuple[Any, Any]:
    """The largest of each window of the last dimension, and its place there."""
    import torch

    inside = _windows(x.shape[-1], out)
    return tuple(torch.where(inside, x.unsqueeze(-2), float("-inf")).max(-1))  # type: ignore[return-value]


def roll(x: Any, shifts: Sequence[Any], dims: Sequence[int] = ()) -> Any:
    """Only where a shift is open: the exporter's translation writes it as a number."""
    import torch

    if all(isinstance(s, int) for s in shifts) or not dims:
        return NotImplemented
    for shift, dim in zip(shifts, dims, strict=True):
        size = x.shape[dim]
        places = torch.arange(size) - shift % size
        x = x.index_select(dim, torch.where(places < 0, places + size, places))
    return x


def _windows(size: Any, out: Any) -> Any:
    """A mask [window, place]: torch's windows overlap where the sizes are not divisible."""
    import torch

    places, windows = torch.arange(size), torch.arange(out).unsqueeze(1)
    # From the place size * window / out, rounded down, to the next one, rounded up.
    return ((places + 1) * out > windows * size) & (places * out < (windows + 1) * size)


def _torch_does(operator: Any, x: Any, output_size: Sequence[Any]) -> Any:
    """What torch's decomposition makes of known sizes; NotImplemented where it does not support them."""
    import torch

    known = all(isinstance(size, int) for size in x.shape[-len(output_size) :])
    return torch._decomp.decomposition_table[operator](x, output_size) if known else NotImplemented
