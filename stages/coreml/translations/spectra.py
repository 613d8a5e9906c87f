"""Discrete Fourier transforms, as products with matrices of cosines and sines.

coremltools' own compute the angles in float32 and in the program: at 512 numbers they are 1e-4 off. They need known
sizes, too. Here an angle is first reduced to one turn, in integers.
Source: https://docs.pytorch.org/docs/stable/fft.html
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil.types.symbolic import is_symbolic

from stages.coreml.translations.complexes import Complex, parts
from stages.coreml.translations.nodes import argument, value

BY_NUMBER = (None, "ortho", "forward")  # torch's internal operators have the normalisation as a number


def transform(inverse: bool, real_in: bool, real_out: bool, axes: int | None) -> Callable[[Any, Any], None]:
    """A translation of one of torch.fft's functions.

    Args:
        inverse: Whether it transforms back.
        real_in: Whether it takes real numbers and answers half of the spectrum.
        real_out: Whether it takes half of a spectrum and answers real numbers.
        axes: How many of the last axes are transformed where `dim` does not say; None for all.
    """

    def translated(context: Any, node: Any) -> None:
        x = argument(context, node, 0, "self")
        rank = parts(x)[0].rank
        lengths = _listed(argument(context, node, 1, "n" if axes == 1 else "s"))
        along = value(argument(context, node, 2, "dim"))
        if along is None:
            count = len(lengths) if lengths else rank if axes is None else axes
            along = list(range(rank - count, rank))
        along = [a % rank for a in (along if isinstance(along, list) else [along])]
        norm = value(argument(context, node, 3, "norm"))
        by_axis = dict(zip(along, lengths or [None] * len(along), strict=True))
        _add(context, node, _transformed(x, by_axis, norm, inverse, real_in, real_out))

    return translated


def _listed(lengths: Any) -> list[Any]:
    if lengths is None:
        return []
    return list(lengths) if isinstance(lengths, list | tuple) else [lengths]


def internal(real_in: bool, real_out: bool) -> Callable[[Any, Any], None]:
    """A translation of aten's _fft_r2c, _fft_c2r or _fft_c2c, whose direction is an argument or given by the kind."""

    def translated(context: Any, node: Any) -> None:
        x, along = argument(context, node, 0, "self"), value(argument(context, node, 1, "dim"))
        scaled = value(argument(context, node, 2, "normalization"))
        last = argument(context, node, 3, "last_dim_size")
        inverse = real_out or not (real_in or value(argument(context, node, 3, "forward")))
        half = real_in and value(argument(context, node, 3, "onesided"))
        # By this number the result is divided in either direction; torch.fft's words mean the direction too.
        norm = {0: "forward" if inverse else None, 1: "ortho", 2: None if inverse else "forward"}[scaled]
        by_axis = dict.fromkeys((a % parts(x)[0].rank for a in along), None)
        if real_out:
            by_axis[[*by_axis][-1]] = last
        _add(context, node, _transformed(x, by_axis, norm, inverse, bool(half), real_out))

    return translated


def _add(context: Any, node: Any, result: Any) -> None:
    context.add(result if isinstance(result, Complex) else mb.identity(x=result, name=node.name), torch_name=node.name)


def _transformed(
    x: Any, by_axis: Mapping[int, Any], norm: str | None, inverse: bool, real_in: bool, real_out: bool
) -> Any:
    """The transform along axes, each with its length, or None for the tensor's own."""
    real, imag = parts(x)
    order = [*by_axis.items()]
    last = order[-1][0]
    for axis, length in reversed(order) if real_in else order:
        rows = _size(real, axis)
        n = _number(length)
        if n is None:
            n = _plus(rows, rows, -2) if real_out and axis == last else rows
        half = real_in and axis == last
        columns = _plus(_half(n), 1) if half else n
        cosines, sines = _matrices(rows, columns, n, mirrored=real_out and axis == last)
        scale = _scale(n, norm, inverse)

        def times(v: Any, matrix: Any, axis: int = axis, scale: Any = scale) -> Any:
            product = _along(v, matrix, axis)
            return product if scale is None else mb.mul(x=product, y=scale)

        sign = 1.0 if inverse else -1.0
        if real_out and axis == last:
            real = mb.sub(x=times(real, cosines), y=times(imag, sines))
            continue
        if imag is None:
            real, imag = times(real, cosines), mb.mul(x=times(real, sines), y=sign)
            continue
        turned = times(real, sines), times(imag, sines)
        real, imag = (
            mb.sub(x=times(real, cosines), y=mb.mul(x=turned[1], y=sign)),
            mb.add(x=times(imag, cosines), y=mb.mul(x=turned[0], y=sign)),
        )
    return real if real_out else Complex(real, imag)


def _size(x: Any, axis: int) -> Any:
    """The size of an axis: an integer, or a variable where it is open."""
    known = x.shape[axis]
    return mb.gather(x=mb.shape(x=x), indices=axis, axis=0) if is_symbolic(known) else int(known)


def _number(length: Any) -> Any:
    """A length: None for -1 or none, an integer, or a variable."""
    known = getattr(length, "val", length)
    if length is None or (known is not None and int(np.asarray(known).reshape(())) == -1):
        return None
    return length if known is None else int(np.asarray(known).reshape(()))


def _plus(*terms: Any) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = total + term if isinstance(total, int) and isinstance(term, int) else mb.add(x=total, y=term)
    return total


def _half(n: Any) -> Any:
    return n // 2 if isinstance(n, int) else mb.floor_div(x=n, y=2)


def _matrices(rows: Any, columns: Any, n: Any, *, mirrored: bool) -> tuple[Any, Any]:
    """Cosines and sines of the angles jk/n of a turn, [rows, columns].

    Rows from n on are zero: the input is cut there. Where `mirrored`, the rows are half of a spectrum, and those that
    stand for their mirror images too count twice.
    """
    if all(isinstance(size, int) for size in (rows, columns, n)):
        j, k = np.arange(rows)[:, None], np.arange(columns)[None]
        angles = 2 * math.pi * (j * k % n) / n
        weights = (2.0 - (j == 0) - (2 * j == n)) * (2 * j <= n) if mirrored else 1.0 * (j < n)
        return tuple((f(angles) * weights).astype("f4") for f in (np.cos, np.sin))
    j = mb.expand_dims(x=mb.range_1d(start=0, end=rows, step=1), axes=[1])
    k = mb.expand_dims(x=mb.range_1d(start=0, end=columns, step=1), axes=[0])
    turns = mb.cast(x=mb.mod(x=mb.mul(x=j, y=k), y=n), dtype="fp32")
    angles = mb.mul(x=mb.real_div(x=turns, y=_floating(n)), y=np.float32(2 * math.pi))

    def where(condition: Any) -> Any:
        return mb.cast(x=condition, dtype="fp32")

    twice = mb.mul(x=j, y=2)
    if mirrored:
        alone = mb.add(x=where(mb.equal(x=j, y=0)), y=where(mb.equal(x=twice, y=n)))
        weights = mb.mul(x=mb.sub(x=2.0, y=alone), y=where(mb.less_equal(x=twice, y=n)))
    else:
        weights = where(mb.less(x=j, y=n))
    return mb.mul(x=mb.cos(x=angles), y=weights), mb.mul(x=mb.sin(x=angles), y=weights)


def _floating(n: Any) -> Any:
    return float(n) if isinstance(n, int) else mb.cast(x=n, dtype="fp32")


def _scale(n: Any, norm: str | None, inverse: bool) -> Any:
    """The factor of one axis; None for 1."""
    if norm == "ortho":
        return n**-0.5 if isinstance(n, int) else mb.rsqrt(x=_floating(n), epsilon=1e-12)
    if (norm == "forward") is inverse:
        return None
    return 1 / n if isinstance(n, int) else mb.inverse(x=_floating(n), epsilon=1e-12)


def _along(x: Any, matrix: Any, axis: int) -> Any:
    """The product with a matrix, [size, new size], along one axis."""
    order = [i for i in range(x.rank) if i != axis] + [axis]
    turned = mb.matmul(x=mb.transpose(x=x, perm=order) if axis != x.rank - 1 else x, y=matrix)
    return turned if axis == x.rank - 1 else mb.transpose(x=turned, perm=[order.index(i) for i in range(x.rank)])


def stft(context: Any, node: Any) -> None:
    """torch.stft of real numbers, [batch, samples] or [samples]: one convolution with the windowed waves."""
    x, n = argument(context, node, 0, "self"), value(argument(context, node, 1, "n_fft"))
    hop = value(argument(context, node, 2, "hop_length")) or n // 4
    length = value(argument(context, node, 3, "win_length")) or n
    window = value(argument(context, node, 4, "window"))
    onesided = value(argument(context, node, 6, "onesided")) is not False
    before = (n - length) // 2
    weights = np.pad(np.ones(length) if window is None else np.asarray(window), (before, n - length - before))
    if value(argument(context, node, 5, "normalized")):
        weights = weights / math.sqrt(n)
    count = n // 2 + 1 if onesided else n
    angles = 2 * math.pi * (np.arange(count)[:, None] * np.arange(n)[None] % n) / n
    waves = np.concatenate([np.cos(angles), -np.sin(angles)]) * weights
    channel = mb.expand_dims(x=x, axes=[0, 1] if x.rank == 1 else [1])
    frames = mb.conv(x=channel, weight=waves[:, None].astype("f4"), strides=[hop], pad_type="valid")
    both = mb.split(x=frames, num_splits=2, axis=1)
    real, imag = (mb.squeeze(x=v, axes=[0]) if x.rank == 1 else v for v in both)
    if value(argument(context, node, 7, "return_complex")):
        context.add(Complex(real, imag), torch_name=node.name)
    else:
        context.add(mb.stack(values=[real, imag], axis=-1, name=node.name))


NAMES: Mapping[str, Callable[[Any, Any], None]] = {
    **{
        f"fft_{'i' * inverse}{kind}{axes}": transform(
            inverse, kind == "rfft" and not inverse, kind == "rfft" and inverse, {"": 1, "2": 2, "n": None}[axes]
        )
        for inverse in (False, True)
        for kind in ("fft", "rfft")
        for axes in ("", "2", "n")
    },
    "_fft_c2c": internal(real_in=False, real_out=False),
    "_fft_c2r": internal(real_in=False, real_out=True),
    "_fft_r2c": internal(real_in=True, real_out=False),
    "stft": stft,
}
