"""Decomposes functions of matrices, for `decompositions`: the exponential, and others for matrices of few rows.

Each takes and returns what torch's function of that name does, or NotImplemented for what it does not support.
"""

from __future__ import annotations

import math
from typing import Any

# The most rows for which a matrix is processed row by row; each row is a dozen operations of the graph.
MOST_ROWS = 8
# exp(x) = exp(x / 2**n) ** (2**n): with so many squarings for matrices of norm up to 2**15, whose exponential
# overflows float32 by far.
SQUARINGS = 16
# The terms of exp's series for a norm of at most one half: the next is 2e-17.
TERMS = 14


def matrix_exp(x: Any) -> Any:
    """By scaling and squaring, each matrix with as many squarings as its norm asks for.

    Source: C. Moler, C. Van Loan, Nineteen dubious ways to compute the exponential of a matrix, SIAM Review 45 (2003),
    method 3.
    """
    import torch

    if not x.dtype.is_floating_point or not isinstance(x.shape[-1], int):
        return NotImplemented
    norm = x.abs().sum(-1, keepdim=True).amax(-2, keepdim=True)
    times = sum((norm > 2.0 ** (n - 1)).to(x.dtype) for n in range(SQUARINGS))
    scaled = x * torch.pow(torch.full_like(times, 2), -times)
    unit = torch.eye(x.shape[-1], dtype=x.dtype)
    series = unit + scaled / TERMS
    for n in range(TERMS - 1, 0, -1):
        series = unit + (scaled / n) @ series
    for n in range(SQUARINGS):
        series = torch.where(times > n, series @ series, series)
    return series


def _is_small(a: Any) -> bool:
    """Whether matrices have few enough rows, and floating-point numbers."""
    return a.dtype.is_floating_point and isinstance(a.shape[-1], int) and a.shape[-1] <= MOST_ROWS


def _eliminated(a: Any, b: Any) -> tuple[Any, Any, list[Any]]:
    """Gauss and Jordan's elimination, with the largest pivot of each column.

    Args:
        a: Square matrices, [..., n, n].
        b: Right sides, [..., n, k], of the same leading dimensions.

    Returns:
        The solutions of a x = b; the sign of the determinant of a from exchanges of rows; and the pivots. A singular
        matrix has a pivot of zero, and its solution is meaningless (torch raises an error).
    """
    import torch

    size = a.shape[-1]
    rows, places = torch.cat([a, b], -1), torch.arange(size)
    sign, pivots = torch.ones_like(a[..., 0, 0]), []
    for column in range(size):
        best = rows[..., column:, column].abs().argmax(-1, keepdim=True) + column
        order = torch.where(places == column, best, torch.where(places == best, column, places))
        rows = rows.gather(-2, order.unsqueeze(-1).expand_as(rows))
        sign = torch.where(best.squeeze(-1) == column, sign, -sign)
        pivot = rows[..., column : column + 1, column : column + 1]
        pivots.append(pivot[..., 0, 0])
        row = rows[..., column : column + 1, :] / torch.where(pivot == 0, 1, pivot)
        others = rows - rows[..., :, column : column + 1] * row
        rows = torch.where((places == column).unsqueeze(-1), row, others)
    return rows[..., size:], sign, pivots


def det(a: Any) -> Any:
    """ONNX has Det, but runtimes other than onnxruntime do not."""
    if not _is_small(a):
        return NotImplemented
    _, sign, pivots = _eliminated(a, a[..., :0])
    return math.prod(pivots, start=sign)


def slogdet(a: Any) -> Any:
    if not _is_small(a):
        return NotImplemented
    _, sign, pivots = _eliminated(a, a[..., :0])
    return math.prod((p.sign() for p in pivots), start=sign), sum(p.abs().log() for p in pivots)


def logdet(a: Any) -> Any:
    import torch

    if not _is_small(a):
        return NotImplemented
    sign, logarithm = slogdet(a)
    return torch.where(sign < 0, float("nan"), logarithm)


def inverse(a: Any) -> Any:
    import torch

    if not _is_small(a):
        return NotImplemented
    return _eliminated(a, torch.eye(a.shape[-1], dtype=a.dtype).expand_as(a))[0]


def solve(a: Any, b: Any, *, left: bool = True) -> Any:
    import torch

    if not _is_small(a):
        return NotImplemented
    if b.dim() == 1 or b.shape == a.shape[:-1]:  # a vector for each matrix
        return solve(a, b.unsqueeze(-1), left=True).squeeze(-1)
    if not left:
        return solve(a.mT, b.mT).mT
    lead = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])  # type: ignore[no-untyped-call]
    return _eliminated(a.expand(*lead, *a.shape[-2:]), b.expand(*lead, *b.shape[-2:]))[0]


def solve_triangular(a: Any, b: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    import torch

    if not _is_small(a):
        return NotImplemented
    triangle = a.triu() if upper else a.tril()
    if unitriangular:
        triangle = torch.where(torch.eye(a.shape[-1], dtype=torch.bool), 1, triangle)
    return solve(triangle, b, left=left)


def cholesky(a: Any, *, upper: bool = False) -> Any:
    import torch

    if not _is_small(a):
        return NotImplemented
    places, columns = torch.arange(a.shape[-1]), []
    for at in range(a.shape[-1]):
        column = torch.where(places >= at, a[..., :, at] / a[..., at : at + 1, at].sqrt(), 0)
        columns.append(column)
        a = a - column.unsqueeze(-1) * column.unsqueeze(-2)
    lower = torch.stack(columns, -1)
    return lower.mT if upper else lower
