"""Decomposes operators into simpler ones, for exporters and converters that have no translation of them.

A captured program keeps the operator: an exporter with a translation of its own still uses that. Each function here
takes what the operator takes, and returns NotImplemented for a case that it does not support, which leaves the operator
unchanged.

Functions that compare each place with every other place (running maxima, modes, searches) need memory quadratic in the
length.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from stages.capture import matrices, open_sizes, whole_numbers

# torch.cdist's modes, and the number of rows up to which it uses differences by default.
BY_PRODUCTS, BY_DIFFERENCES, FEW_ROWS = 1, 2, 25
# Giles' coefficients for erfinv, the highest power first.
NEAR_ZERO = [2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087]
NEAR_ZERO += [-0.00125372503, -0.00417768164, 0.246640727, 1.50140941]
NEAR_ONE = [-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773]
NEAR_ONE += [-0.0076224613, 0.00943887047, 1.00167406, 2.83297682]


def ours(but: Iterable[Any] = ()) -> dict[Any, Callable[..., Any]]:
    """Overload to function, for ExportedProgram.run_decompositions.

    Args:
        but: Overloads that have a translation of their own.
    """
    table = _ours()
    return {operator: table[operator] for operator in table.keys() - set(but)}


def composite() -> dict[Any, Callable[..., Any]]:
    """Those of our decompositions that torch replaces by other operators before a converter sees them."""
    return {operator: function for operator, function in _ours().items() if _is_implicit(operator)}


def by_name(names: Iterable[str]) -> dict[Any, Callable[..., Any]]:
    """The decompositions, ours before torch's own, of operators by name, such as aten.logcumsumexp.default."""
    table = _every()
    return {o: table[o] for o in map(_overload, names) if o in table}


@functools.cache
def _every() -> Mapping[Any, Callable[..., Any]]:
    import torch

    # What the exporter for ONNX translates, and others lack.
    further = {torch.ops.aten.logcumsumexp.default: _logcumsumexp}
    return {**torch._decomp.decomposition_table, **dict(torch.export.default_decompositions()), **further, **_ours()}


def _overload(name: str) -> Any:
    """Such as torch.ops.aten.sort.stable; None for what is no operator, such as a Python function."""
    import torch

    namespace, _, rest = name.partition(".")
    packet, _, overload = rest.partition(".")
    return getattr(getattr(getattr(torch.ops, namespace), packet, None), overload or "default", None)


def _is_implicit(operator: Any) -> bool:
    """Whether torch always computes an operator by other operators."""
    import torch

    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(operator.name(), "CompositeImplicitAutograd"))


@functools.cache
def _ours() -> Mapping[Any, Callable[..., Any]]:
    import torch

    aten = torch.ops.aten
    return {
        aten._adaptive_avg_pool2d.default: open_sizes.adaptive_avg_pool,
        aten._adaptive_avg_pool3d.default: open_sizes.adaptive_avg_pool,
        aten.adaptive_max_pool2d.default: open_sizes.adaptive_max_pool,
        aten.roll.default: open_sizes.roll,
        aten.div.Tensor_mode: whole_numbers.divided,
        aten.div.Scalar_mode: whole_numbers.divided,
        aten.__rshift__.Scalar: whole_numbers.shifted_right,
        aten.bitwise_right_shift.Tensor_Scalar: whole_numbers.shifted_right,
        aten.cummax.default: functools.partial(_cumulative, largest=True),
        aten.cummin.default: functools.partial(_cumulative, largest=False),
        aten.cumprod.default: _cumprod,
        aten.sort.stable: _stable_sort,
        aten.kthvalue.default: _kthvalue,
        aten.median.default: _median_of_all,
        aten.median.dim: _median,
        aten.nanmedian.default: _nanmedian_of_all,
        aten.nanmedian.dim: _nanmedian,
        aten.mode.default: _mode,
        aten.searchsorted.Tensor: _searchsorted,
        aten.cdist.default: _cdist,
        aten.hypot.default: _hypot,
        aten.copysign.Tensor: _copysign,
        aten.fmax.default: functools.partial(_but_nan, torch.maximum),
        aten.fmin.default: functools.partial(_but_nan, torch.minimum),
        aten.erfinv.default: _erfinv,
        aten.scatter_reduce.two: _scatter_mean,
        aten.index_reduce.default: _index_reduce,
        aten.put.default: _put,
        aten.diagonal_scatter.default: _diagonal_scatter,
        aten.linalg_matrix_exp.default: matrices.matrix_exp,
        aten.linalg_det.default: matrices.det,
        aten.det.default: matrices.det,
        aten.linalg_slogdet.default: matrices.slogdet,
        aten.slogdet.default: matrices.slogdet,
        aten.logdet.default: matrices.logdet,
        aten.linalg_inv.default: matrices.inverse,
        aten.inverse.default: matrices.inverse,
        aten.linalg_solve.default: matrices.solve,
        aten.linalg_solve_triangular.default: matrices.solve_triangular,
        aten.linalg_cholesky.default: matrices.cholesky,
    }


# ── along a dimension ─────────────────────────────────────────────────────────────────────────────────────────────────


def _up_to_each(length: Any) -> tuple[Any, Any]:
    """The places of a dimension, and a mask [place, other place] that is true for the places up to each place."""
    import torch

    places = torch.arange(length)
    return places, places <= places[:, None]


def _cumulative(x: Any, dim: int, *, largest: bool) -> Any:
    """cummax and cummin, which return the place of the last of equal values."""
    import torch

    if x.dim() == 0 or x.dtype is torch.bool:
        return NotImplemented
    rows = x.movedim(dim, -1).unsqueeze(-2)
    places, up_to = _up_to_each(rows.shape[-1])
    every = torch.where(up_to, rows, _end(x.dtype, largest=not largest))
    best = every.amax(-1) if largest else every.amin(-1)
    at = torch.where(up_to & (every == best.unsqueeze(-1)), places, 0).amax(-1)
    return best.movedim(-1, dim), at.movedim(-1, dim)


def _end(dtype: Any, *, largest: bool) -> Any:
    """The largest or smallest value of a type, infinity if it has one."""
    import torch

    if dtype.is_floating_point:
        return float("inf") if largest else float("-inf")
    return torch.iinfo(dtype).max if largest else torch.iinfo(dtype).min


def _cumprod(x: Any, dim: int, *, dtype: Any = None) -> Any:
    import torch

    if x.dim() == 0:
        return NotImplemented
    counted = torch.int64 if dtype is None and not x.dtype.is_floating_point else dtype
    rows = (x if counted is None else x.to(counted)).movedim(dim, -1).unsqueeze(-2)
    _, up_to = _up_to_each(rows.shape[-1])
    return torch.where(up_to, rows, 1).prod(-1).movedim(-1, dim)


def _logcumsumexp(x: Any, dim: int) -> Any:
    import torch

    if x.dim() == 0:
        return NotImplemented
    rows = x.movedim(dim, -1).unsqueeze(-2)
    _, up_to = _up_to_each(rows.shape[-1])
    return torch.where(up_to, rows, float("-inf")).logsumexp(-1).movedim(-1, dim)


def _stable_sort(x: Any, *, stable: bool | None, dim: int = -1, descending: bool = False) -> Any:
    """Sorts are exported as ONNX's TopK, which by its specification keeps the order of equal values."""
    import torch

    return torch.ops.aten.sort.default(x, dim, descending)


def _kthvalue(x: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    import torch

    if x.dim() == 0:
        return NotImplemented
    return tuple(_at(t, k - 1, dim, keepdim) for t in torch.topk(x, k, dim, largest=False))


def _at(x: Any, place: Any, dim: int, keepdim: bool) -> Any:
    slice_ = x.narrow(dim, place, 1)
    return slice_ if keepdim else slice_.squeeze(dim)


def _median(x: Any, dim: int, keepdim: bool = False) -> Any:
    import torch

    if x.dim() == 0:
        return NotImplemented
    values, places = torch.sort(x, dim)
    middle = (x.shape[dim] - 1) // 2
    value, place = _at(values, middle, dim, keepdim), _at(places, middle, dim, keepdim)
    if x.dtype.is_floating_point:
        nan = x.isnan()
        value = torch.where(nan.any(dim, keepdim), float("nan"), value)
        place = torch.where(nan.any(dim, keepdim), nan.to(torch.int32).argmax(dim, keepdim), place)
    return value, place


def _median_of_all(x: Any) -> Any:
    return _median(x.flatten(), 0)[0] if x.dim() else NotImplemented


def _nanmedian(x: Any, dim: int, keepdim: bool = False) -> Any:
    import torch

    if x.dim() == 0:
        return NotImplemented
    if not x.dtype.is_floating_point:
        return _median(x, dim, keepdim)
    nan = x.isnan()
    values, places = torch.sort(torch.where(nan, float("inf"), x), dim)
    count = nan.logical_not().sum(dim, keepdim=True)
    middle = torch.floor_divide(count - 1, 2).clamp(min=0)
    value = torch.where(count > 0, values.gather(dim, middle), float("nan"))
    place = places.gather(dim, middle)
    return (value, place) if keepdim else (value.squeeze(dim), place.squeeze(dim))


def _nanmedian_of_all(x: Any) -> Any:
    return _nanmedian(x.flatten(), 0)[0] if x.dim() else NotImplemented


def _mode(x: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """The smallest of the most frequent values, and its last place."""
    import torch

    if x.dim() == 0 or x.dtype is torch.bool:
        return NotImplemented
    rows = x.movedim(dim, -1)
    counts = (rows.unsqueeze(-1) == rows.unsqueeze(-2)).sum(-1)
    often = counts == counts.amax(-1, keepdim=True)
    value = torch.where(often, rows, _end(x.dtype, largest=True)).amin(-1, keepdim=True)
    place = torch.where(rows == value, torch.arange(rows.shape[-1]), 0).amax(-1, keepdim=True)
    result = value.movedim(-1, dim), place.movedim(-1, dim)
    return result if keepdim else tuple(t.squeeze(dim) for t in result)


def _searchsorted(
    sorted_sequence: Any,
    values: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Any:
    import torch

    if sorter is not None:
        sorted_sequence = sorted_sequence.gather(-1, sorter)
    bounds, wanted_values = sorted_sequence.unsqueeze(-2), values.unsqueeze(-1)
    below = bounds <= wanted_values if right or side == "right" else bounds < wanted_values
    return below.sum(-1, dtype=torch.int32 if out_int32 else torch.int64)


def _cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: int | None = None) -> Any:
    """Euclidean distances of many rows by products, as torch computes them by default; all others by differences."""
    many = any(isinstance(x.shape[-2], int) and x.shape[-2] > FEW_ROWS for x in (x1, x2))
    if p == 2 and (compute_mode == BY_PRODUCTS or (many and compute_mode != BY_DIFFERENCES)):
        squares = (x1 * x1).sum(-1, keepdim=True) + (x2 * x2).sum(-1).unsqueeze(-2)
        return (squares - 2 * x1 @ x2.mT).clamp(min=0).sqrt()
    between = (x1.unsqueeze(-2) - x2.unsqueeze(-3)).abs()
    if p == 0:
        return (between != 0).to(x1.dtype).sum(-1)
    if p == 1:
        return between.sum(-1)
    if p == float("inf"):
        return between.amax(-1)
    return (between * between).sum(-1).sqrt() if p == 2 else between.pow(p).sum(-1).pow(1 / p)


# ── element by element ────────────────────────────────────────────────────────────────────────────────────────────────


def _hypot(x: Any, y: Any) -> Any:
    """Scaled by the larger side, so that neither square overflows or vanishes."""
    import torch

    a, b = x.abs(), y.abs()
    large, small = torch.maximum(a, b), torch.minimum(a, b)
    ratio = small / torch.where(large == 0, 1, large)
    return torch.where(large == float("inf"), large, large * torch.sqrt(1 + ratio * ratio))


def _copysign(x: Any, sign: Any) -> Any:
    import torch

    if not (x.dtype.is_floating_point and sign.dtype.is_floating_point):
        return NotImplemented
    # -0 is no less than 0, and 1 / -0 is.
    negative = (sign < 0) | ((sign == 0) & (1 / sign < 0))
    return torch.where(negative, -x.abs(), x.abs())


def _but_nan(choose: Callable[[Any, Any], Any], x: Any, y: Any) -> Any:
    """The choice between two numbers, where NaN does not count as a number."""
    import torch

    if not (x.dtype.is_floating_point and y.dtype.is_floating_point):
        return choose(x, y)
    return torch.where(x.isnan(), y, torch.where(y.isnan(), x, choose(x, y)))


def _erfinv(x: Any) -> Any:
    """Source: M. Giles, Approximating the erfinv function, GPU Computing Gems 2 (2011), for single precision."""
    import torch

    if x.dtype is not torch.float32:
        return NotImplemented
    w = -torch.log((1 - x) * (1 + x))
    near, far = _polynomial(w - 2.5, NEAR_ZERO), _polynomial(torch.sqrt(w.clamp(min=5)) - 3, NEAR_ONE)
    return torch.where(x.abs() == 1, x * float("inf"), torch.where(w < 5, near, far) * x)


def _polynomial(x: Any, coefficients: Iterable[float]) -> Any:
    """By Horner's rule; the coefficient of the highest power comes first."""
    return functools.reduce(lambda total, c: total * x + c, coefficients)


# ── written to places ─────────────────────────────────────────────────────────────────────────────────────────────────


def _scatter_mean(x: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True) -> Any:
    """Only for the mean: ONNX's ScatterElements has none, and the exporter's translation omits the division."""
    import torch

    if reduce != "mean" or x.dim() == 0:
        return NotImplemented
    zeros = torch.zeros_like(x)
    counts = (torch.ones_like(x) if include_self else zeros).scatter_add(dim, index, torch.ones_like(src))
    sums = (x if include_self else zeros).scatter_add(dim, index, src)
    mean = sums / counts.clamp(min=1)
    if not x.dtype.is_floating_point:
        mean = mean.floor().to(x.dtype)
    return torch.where(counts > 0, mean, x)


def _index_reduce(x: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True) -> Any:
    """scatter_reduce with the index repeated over the other dimensions."""
    shape = [1] * x.dim()
    shape[dim] = -1
    everywhere = index.view(shape).expand_as(source)
    return x.scatter_reduce(dim, everywhere, source, reduce, include_self=include_self)


def _put(x: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    flat, places = x.flatten(), index.flatten()
    places = places + (places < 0) * flat.shape[0]
    values = source.flatten()
    result = flat.scatter_add(0, places, values) if accumulate else flat.scatter(0, places, values)
    return result.view_as(x)


def _diagonal_scatter(x: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    import torch

    rows, columns = torch.arange(x.shape[dim1]), torch.arange(x.shape[dim2])
    on = columns == rows[:, None] + offset
    matrix = x.movedim((dim1, dim2), (-2, -1))
    at = (rows + min(offset, 0)).clamp(0, src.shape[-1] - 1)
    result = torch.where(on, src.index_select(-1, at).unsqueeze(-1), matrix)
    return result.movedim((-2, -1), (dim1, dim2))
