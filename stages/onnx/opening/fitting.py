"""Finds sizes at which an ONNX graph runs, by running it: what to type where its open dimensions have no range."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from stages.interface.interface import Dim, Input
from stages.reference import sizes

# Whether the graph runs with inputs of these shapes.
Runs = Callable[[Mapping[str, Input], Mapping[str, int]], bool]

BATCHES = (2, 1)
# Tried in this order, the most common first: pictures, spectrograms and texts, then sounds.
USUAL = (
    64,
    32,
    128,
    48,
    16,
    224,
    8,
    256,
    512,
    320,
    80,
    100,
    160,
    1,
    2,
    3,
    4,
    96,
    112,
    192,
    299,
    384,
    576,
    640,
    1024,
    4096,
    16000,
)
FEW = (64, 48, 32, 224, 80, 192, 320)  # where several dimensions need different sizes
STEPS = (1, 2, 4, 8, 16, 32, 64)
MOST = 2**22  # elements of all inputs of a run
QUESTIONS = 400  # runs, at most


@dataclass(frozen=True)
class FittingSizes:
    """Sizes at which a graph runs.

    Args:
        inputs: With a number for a dimension of only one size, and the same name for dimensions that must be equal.
        dims: A range for each name.
    """

    inputs: Mapping[str, Input]
    dims: Mapping[str, Dim]


def search(
    inputs: Mapping[str, Input], fixed: Mapping[str, Dim], runs: Runs, hints: Sequence[int] = ()
) -> FittingSizes | None:
    """Ranges for the open dimensions, such that the graph runs at all sizes that a reference uses; None if not found.

    Args:
        inputs: The graph's inputs, with a name for each open dimension.
        fixed: Ranges that are already set; they stay.
        runs: Runs the graph.
        hints: Sizes to try besides the usual ones, such as those of weights.
    """
    return _Search(inputs, fixed, runs, hints).run()


class _Search:
    def __init__(self, inputs: Mapping[str, Input], fixed: Mapping[str, Dim], runs: Runs, hints: Sequence[int]) -> None:
        self._sizes = list(dict.fromkeys([*USUAL, *hints]))
        self._inputs, self._fixed, self._runs = dict(inputs), dict(fixed), runs
        self._results: dict[tuple[int, ...], bool] = {}
        self._names = list(dict.fromkeys(d for s in inputs.values() for d in s.axes.values()))
        self._open = [n for n in self._names if n not in fixed]
        self._batches = {s.shape[0] for s in inputs.values() if len(s.shape) > 1 and s.shape[0] in self._open}

    def run(self) -> FittingSizes | None:
        base = next((b for b in self._bases() if self._takes(b)), None)
        if base is None:
            return None
        groups = self._groups(base)
        dims = {group[0]: dim for group in groups if (dim := self._range(base, group)) is not None}
        for narrow in (lambda d: d, _narrower, lambda d: None):
            # A range that works for each dimension alone may fail for all together: try smaller ranges, then none.
            ranges = {n: narrowed for n, d in dims.items() if (narrowed := narrow(d)) is not None}
            result = self._described(base, groups, ranges)
            if all(self._takes(at, result.inputs) for at in sizes.labelled(result.dims, "standard").values()):
                return result
        return None

    def _bases(self) -> Iterator[dict[str, int]]:
        """Sizes to begin with: the same for every dimension but the batch, then some that differ."""
        fixed = {n: d.opt for n, d in self._fixed.items()}
        others = [n for n in self._open if n not in self._batches]
        for batch in BATCHES:
            first = fixed | dict.fromkeys(self._batches, batch)
            for size in self._sizes if others else (1,):
                yield first | dict.fromkeys(others, size)
        for batch in BATCHES:
            # The batch of a recurrent state is not its first dimension: try the batch's size for other dimensions too.
            for size, small in itertools.product(USUAL, self._subsets(others)):
                yield fixed | dict.fromkeys(others, size) | dict.fromkeys([*self._batches, *small], batch)
        if 1 < len(others) <= 3:
            for some in itertools.product(FEW, repeat=len(others)):
                yield fixed | dict.fromkeys(self._batches, 1) | dict(zip(others, some, strict=True))

    @staticmethod
    def _subsets(names: Sequence[str]) -> list[list[str]]:
        return [[n] for n in names] + ([list(names)] if len(names) > 1 else [])

    def _takes(self, at: Mapping[str, int], inputs: Mapping[str, Input] | None = None) -> bool:
        """Whether the graph runs at these sizes; False too beyond QUESTIONS runs, or for inputs of more than MOST."""
        inputs = inputs or self._inputs
        shapes = [spec.at(at) for spec in inputs.values()]
        key = tuple(n for shape in shapes for n in shape)
        if key not in self._results:
            small = sum(math.prod(shape) for shape in shapes) <= MOST
            self._results[key] = small and len(self._results) < QUESTIONS and self._runs(inputs, at)
        return self._results[key]

    def _groups(self, base: Mapping[str, int]) -> list[list[str]]:
        """The open dimensions in groups: those of one group run only with equal changes of size."""

        def varies(names: Sequence[str]) -> bool:
            return any(self._takes({**base, **{n: base[n] + step for n in names}}) for step in STEPS)

        alone = [n for n in self._open if varies([n])]
        stuck = [n for n in self._open if n not in alone]
        groups = [[n] for n in alone]
        for size in dict.fromkeys(base[n] for n in stuck):
            alike = [n for n in stuck if base[n] == size]
            while alike:
                tried = (
                    [alike[0], *more]
                    for count in range(len(alike) - 1, 0, -1)
                    for more in itertools.combinations(alike[1:], count)
                )
                group = next((g for g in tried if varies(g)), [alike[0]])
                groups.append(group)
                alike = [n for n in alike if n not in group]
        return groups

    def _range(self, base: Mapping[str, int], group: Sequence[str]) -> Dim | None:
        """A range around a size that runs; None where that is the only one."""
        usual = base[group[0]]

        def fits(size: int) -> bool:
            return self._takes({**base, **dict.fromkeys(group, size)})

        # A model that rounds up also runs at a few sizes below a multiple: prefer a step that works in both directions.
        fitting = [s for s in STEPS if usual % s == 0]
        both = (s for s in fitting if usual > s and fits(usual + s) and fits(usual - s))
        either = (s for s in fitting if fits(usual + s) or (usual > s and fits(usual - s)))
        if (step := next(both, None) or next(either, None)) is None:
            return None
        if not self._batches.isdisjoint(group):
            high = next(n for n in (8, 4, 3, 2, 1) if n == 1 or (n > usual and fits(n)))
            low = 1 if fits(1) else usual
            return Dim(low, max(usual, low), high) if low < high else None
        high = _furthest(usual, 2 * usual, step, fits)
        # Search downwards only where no larger size runs: a window wider than its input is an error in other runtimes.
        low = usual if high > usual else _furthest(usual, max(step, usual // 2 // step * step), -step, fits)
        return Dim(low, usual, high, step) if low < high else None

    def _described(
        self, base: Mapping[str, int], groups: Sequence[Sequence[str]], ranges: Mapping[str, Dim]
    ) -> FittingSizes:
        names: dict[str, str | int] = {}
        for group in groups:
            called = "batch" if len(group) > 1 and not self._batches.isdisjoint(group) else group[0]
            names |= {n: called if group[0] in ranges else base[n] for n in group}
        inputs = {n: replace(s, shape=[names.get(d, d) for d in s.shape]) for n, s in self._inputs.items()}
        dims = {str(names[n]): d for n, d in ranges.items()}
        return FittingSizes(inputs, {**self._fixed, **dims})


def _furthest(near: int, far: int, step: int, fits: Callable[[int], bool]) -> int:
    """The size nearest to `far` that fits, in steps from `near`, which fits; by bisection."""
    low, high = 0, (far - near) // step
    if fits(near + high * step):
        return near + high * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(near + middle * step) else (low, middle)
    return near + low * step


def _narrower(dim: Dim) -> Dim | None:
    """The usual size and two steps above it."""
    high = dim.opt + 2 * dim.multiple
    return Dim(dim.opt, dim.opt, high, dim.multiple) if dim.opt < high <= dim.max else None
