"""Which of the values inside an artifact is the model's own, whatever it is called there and however it lies.

Names do not tell: conversions fuse, split and rename operators. Values do. One is the model's where it has the same
numbers in the same order, whatever its shape, or with its dimensions in another order.
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

RANK = 5  # dimensions of more than one place, at most, whose other orders are tried
REORDERED = 1e-5  # how far numbers may be off that are the same in another order
LOOKED_AT = 2**16  # numbers of a value that are looked at to say whether it is one that others are not by chance


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
class _Kept:
    node: str
    values: Array
    lowest: float
    highest: float
    mean: float
    broken: int  # numbers that are not finite


class Values:
    """The values inside an artifact, to be asked for those that are like one of the model's."""

    def __init__(self, inner: Inner) -> None:
        self._by_size: dict[int, list[_Kept]] = collections.defaultdict(list)
        for node, results in inner.values.items():
            for values in results:
                if values.size and values.dtype.kind in "fiub":
                    self._by_size[values.size].append(_Kept(node, values, *_summary(values)))

    def like(self, values: Array, near: float) -> Match | None:
        """The value that is most like another and not further off than `near`; None where there is none."""
        lowest, highest, mean, broken = _summary(values)
        far = 2 * near * max(abs(lowest), abs(highest))
        best: Match | None = None
        for kept in self._by_size.get(values.size, ()):
            apart = (kept.lowest - lowest, kept.highest - highest, kept.mean - mean)
            if kept.broken != broken or not all(abs(a) <= far for a in apart):
                continue
            for found, moved in _in_order_of(values, kept.values):
                error = difference(found, values)
                if error <= near and (best is None or error < best.error):
                    best = Match(kept.node, found, error, moved)
                if error <= near:
                    break
        return best

    def closest(self, values: Array, without: Collection[str]) -> Match | None:
        """The value of as many numbers that is closest to another, however far off; None where there is none.

        Args:
            values: The model's.
            without: Nodes that are known to be other values of the model.
        """
        best: Match | None = None
        for kept in self._by_size.get(values.size, ()):
            if kept.node in without or (kept.values.dtype.kind == "f") != (values.dtype.kind == "f"):
                continue
            found = kept.values.reshape(values.shape)
            error = difference(found, values)
            if best is None or error < best.error:
                best = Match(kept.node, found, error)
        return best


def difference(found: Array, wanted: Array) -> float:
    """The largest difference of two values of one shape, as `Match.error` has it."""
    import numpy as np

    if wanted.dtype.kind != "f":
        return 0.0 if np.array_equal(found.astype("f8"), wanted.astype("f8")) else math.inf
    found, wanted = (v.astype("f8" if v.dtype.kind != "f" else v.dtype, copy=False) for v in (found, wanted))
    finite = np.isfinite(wanted)
    if not finite.all():
        if not np.array_equal(found[~finite], wanted[~finite], equal_nan=True) or not np.isfinite(found[finite]).all():
            return math.inf
        found, wanted = found[finite], wanted[finite]
    if not wanted.size:
        return 0.0
    with np.errstate(all="ignore"):
        off, largest = float(np.abs(found - wanted).max()), float(np.abs(wanted).max())
    if not math.isfinite(off):
        return math.inf
    return off / largest if largest else (math.inf if off else 0.0)


def is_reordered(found: Array, wanted: Array) -> bool:
    """Whether a value is another one's numbers in another order, and no other numbers."""
    import numpy as np

    if found.size != wanted.size or np.array_equal(found.reshape(-1), wanted.reshape(-1)):
        return False
    a, b = (np.sort(v.reshape(-1).astype("f8")) for v in (found, wanted))
    return difference(a, b) <= REORDERED and difference(found.reshape(-1), wanted.reshape(-1)) > REORDERED


def tells(values: Array) -> bool:
    """Whether another value is hardly the same by chance, as one of zeros and ones may be."""
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


def _in_order_of(wanted: Array, found: Array) -> Iterator[tuple[Array, bool]]:
    """A value in the shape of another: as it lies, then with its dimensions in each order that has the same sizes."""
    yield found.reshape(wanted.shape), False
    sizes = [n for n in wanted.shape if n > 1]
    squeezed = found.reshape([n for n in found.shape if n > 1])
    if len(sizes) <= RANK and sorted(sizes) == sorted(squeezed.shape):
        for order in itertools.permutations(range(len(sizes))):
            if [squeezed.shape[i] for i in order] == sizes and order != tuple(range(len(sizes))):
                yield squeezed.transpose(order).reshape(wanted.shape), True
