"""Finds the model's values among those inside an artifact, whatever their names and layouts are there.

Names do not help: conversions fuse, split and rename operators. A value is the model's where it has the same numbers in
the same order, in any shape, or with its dimensions permuted.
"""

from __future__ import annotations

import collections
import itertools
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from stages.formats.inner import Inner

    Array = np.ndarray[Any, Any]

RANK = 5  # permutations are tried for up to so many dimensions larger than 1
REORDERED = 1e-5  # the error up to which numbers in another order count as the same
LOOKED_AT = 2**16  # numbers of a value that decide whether another could equal it by chance


@dataclass(frozen=True)
class Match:
    """A value of an artifact that is like one of the model's.

    Args:
        node: The artifact's node.
        values: The artifact's numbers in the shape and order that the model has them in.
        error: The largest difference, as a share of the model's largest number; infinite where NaN, infinities, whole
            numbers or truths differ.
        moved: Whether its dimensions are in another order.
    """

    node: str
    values: Array
    error: float
    moved: bool = False


@dataclass(frozen=True)
class _Inner:
    node: str
    values: Array
    lowest: float
    highest: float
    mean: float
    broken: int  # numbers that are not finite


class Values:
    """The values inside an artifact, searched for those that are like one of the model's."""

    def __init__(self, inner: Inner) -> None:
        self._by_size: dict[int, list[_Inner]] = collections.defaultdict(list)
        for node, results in inner.values.items():
            for values in results:
                if values.size and values.dtype.kind in "fiub":
                    self._by_size[values.size].append(_Inner(node, values, *_summary(values)))

    def like(self, values: Array, near: float) -> Match | None:
        """The value closest to another, with an error of at most `near`; None where there is none."""
        lowest, highest, mean, broken = _summary(values)
        far = 2 * near * max(abs(lowest), abs(highest))
        best: Match | None = None
        for inner in self._by_size.get(values.size, ()):
            apart = (inner.lowest - lowest, inner.highest - highest, inner.mean - mean)
            if inner.broken != broken or not all(abs(a) <= far for a in apart):
                continue
            for reordered, moved in _in_order_of(values, inner.values):
                error = difference(reordered, values)
                if error <= near and (best is None or error < best.error):
                    best = Match(inner.node, reordered, error, moved)
                if error <= near:
                    break
        return best

    def closest(self, values: Array, without: Collection[str]) -> Match | None:
        """The closest value of the same size, however far off; None where there is none.

        Args:
            values: The model's.
            without: Nodes that have other values of the model.
        """
        best: Match | None = None
        for inner in self._by_size.get(values.size, ()):
            if inner.node in without or (inner.values.dtype.kind == "f") != (values.dtype.kind == "f"):
                continue
            reshaped = inner.values.reshape(values.shape)
            error = difference(reshaped, values)
            if best is None or error < best.error:
                best = Match(inner.node, reshaped, error)
        return best


def difference(actual: Array, expected: Array) -> float:
    """The largest difference of two values of one shape, as `Match.error` has it."""
    import numpy as np

    if expected.dtype.kind != "f":
        return 0.0 if np.array_equal(actual.astype("f8"), expected.astype("f8")) else math.inf
    actual, expected = (v.astype("f8" if v.dtype.kind != "f" else v.dtype, copy=False) for v in (actual, expected))
    finite = np.isfinite(expected)
    if not finite.all():
        if (
            not np.array_equal(actual[~finite], expected[~finite], equal_nan=True)
            or not np.isfinite(actual[finite]).all()
        ):
            return math.inf
        actual, expected = actual[finite], expected[finite]
    if not expected.size:
        return 0.0
    with np.errstate(all="ignore"):
        off, largest = float(np.abs(actual - expected).max()), float(np.abs(expected).max())
    if not math.isfinite(off):
        return math.inf
    return off / largest if largest else (math.inf if off else 0.0)


def is_reordered(actual: Array, expected: Array) -> bool:
    """Whether two values have exactly the same numbers, in another order."""
    import numpy as np

    if actual.size != expected.size or np.array_equal(actual.reshape(-1), expected.reshape(-1)):
        return False
    a, b = (np.sort(v.reshape(-1).astype("f8")) for v in (actual, expected))
    return difference(a, b) <= REORDERED and difference(actual.reshape(-1), expected.reshape(-1)) > REORDERED


def is_distinctive(values: Array) -> bool:
    """Whether another value is unlikely to equal this one by chance, as values of zeros and ones often do."""
    import numpy as np

    if values.size == 1:
        return values.dtype.kind == "f" and abs(float(values.reshape(-1)[0])) not in (0.0, 1.0)
    some = values.reshape(-1)[:LOOKED_AT]
    if values.dtype.kind == "b":
        return some.size >= 16 and bool(some.any()) and not bool(some.all())
    finite = some[np.isfinite(some)]
    return bool(finite.size) and bool(((finite != finite.min()) & (finite != finite.max())).any())


def _summary(values: Array) -> tuple[float, float, float, int]:
    """Lowest, highest and mean of what is finite, which no order changes, and how many numbers are not."""
    import numpy as np

    wide = values.astype("f8", copy=False)
    finite = wide[np.isfinite(wide)]
    if not finite.size:
        return 0.0, 0.0, 0.0, wide.size
    return float(finite.min()), float(finite.max()), float(finite.mean()), wide.size - finite.size


def _in_order_of(expected: Array, actual: Array) -> Iterator[tuple[Array, bool]]:
    """A value in the shape of another: in its own order, then with its dimensions permuted where the sizes fit."""
    yield actual.reshape(expected.shape), False
    sizes = [n for n in expected.shape if n > 1]
    squeezed = actual.reshape([n for n in actual.shape if n > 1])
    if len(sizes) <= RANK and sorted(sizes) == sorted(squeezed.shape):
        for order in itertools.permutations(range(len(sizes))):
            if [squeezed.shape[i] for i in order] == sizes and order != tuple(range(len(sizes))):
                yield squeezed.transpose(order).reshape(expected.shape), True
