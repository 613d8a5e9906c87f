"""How far an answer may be from the model's: the constants of a tolerance, and the model's own error in float32.

    rms(artifact - float64) ≤ noise * max(rms(float32 - float64), 2⁻²² rms(float64))

for each output whose float64 answer is known. Where this bound is below the constant, both limits apply; where the
model's own error exceeds the constant, only this bound applies: the model itself is not more precise. Its own error is
that of PyTorch's formulas or of others, whichever is larger; see formulas.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from stages.portable import comparison
from stages.portable.comparison import Figures, Tolerance
from stages.reference.cases import Case
from stages.reference.families import DRAWS, FLAT, SIZES

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

FLOOR = 2.0**-22  # of an output's rms: less than any order of summation keeps
# The bound is so many times wider at values that nobody draws: fast convolutions round by the largest number of a
# window.
FAMILY = 2
OF_FLAT = 10  # where one number fills the inputs: see _Output.bound
FEW = 4  # numbers of an output: of three, one in a million questions has them all below a hundredth of their usual size
LOOSE = 0.1  # of an output's rms: where the model's own error allows more, nothing is judged


@dataclass(frozen=True)
class Usual:
    """What an output is like at the draws.

    Args:
        rms: Its root mean square.
        largest: Its largest magnitude.
        noise: The rms of the model's own error in float32 as a share of the output's; None where it is not known.
        most: The largest of these errors as a share of the output's largest magnitude.
    """

    rms: float = 0.0
    largest: float = 0.0
    noise: float | None = None
    most: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """The result of comparing one case.

    Args:
        figures: By output.
        wrong: What is outside the tolerance, a sentence each.
        unsure: What is outside, or proves nothing, where the model itself decides by rounding alone, a sentence each.
        bound: The largest error allowed by the model's own error, as a share of each output's rms.
        differing: For each output of integers or booleans, the share of elements that differ.
        rounded: The outputs that rounding decides at this case.
    """

    figures: Mapping[str, Figures]
    wrong: Sequence[str] = ()
    unsure: Sequence[str] = ()
    bound: Mapping[str, float] = field(default_factory=dict)
    differing: Mapping[str, float] = field(default_factory=dict)
    rounded: Sequence[str] = ()

    @property
    def worst(self) -> float:
        """The largest max_rel of the outputs that rounding does not decide."""
        return comparison.worst({n: f for n, f in self.figures.items() if n not in self.rounded})


def usual(cases: Sequence[Case]) -> dict[str, Usual]:
    """What each floating-point output is like at the draws."""
    by_output: dict[str, Usual] = {}
    drawn = [c for c in cases if c.family in (SIZES, DRAWS)]
    for name in {n: None for c in drawn for n, v in c.outputs.items() if v.dtype.kind == "f"}:
        values = [c.outputs[name] for c in drawn]
        errors = [(*_own_error(c, name), _rms(c.exact[name])) for c in drawn if name in c.exact]
        largest = max(map(_largest, values), default=0.0)
        by_output[name] = Usual(
            max(map(_rms, values), default=0.0),
            largest,
            max((own / size for own, _, size in errors if size), default=None),
            max((most for _, most, _ in errors), default=0.0) / largest if largest else 0.0,
        )
    return by_output


def undetermined(cases: Sequence[Case]) -> list[str]:
    """The outputs whose own error at each draw is so large that an artifact which answers zeros would be within it."""
    drawn = [c for c in cases if c.family in (SIZES, DRAWS)]
    names = {name: [c for c in drawn if name in c.exact] for name in (cases[0].outputs if cases else ())}
    return [
        name
        for name, known in names.items()
        if known and all(_own_error(c, name)[0] > LOOSE * _rms(c.exact[name]) for c in known)
    ]


def judged(actual: Mapping[str, Array], case: Case, usuals: Mapping[str, Usual], tolerance: Tolerance) -> Verdict:
    """Compares an artifact's outputs with a case.

    Args:
        actual: Outputs by name.
        case: In the artifact's own terms.
        usuals: What its outputs are like at the draws.
        tolerance: How far they may be off.
    """
    actual = case.counted(actual)
    if set(actual) != set(case.outputs):
        return Verdict({}, comparison.compared(actual, case.outputs, tolerance)[1])
    figures: dict[str, Figures] = {}
    wrong: list[str] = []
    bounds: dict[str, float] = {}
    differing: dict[str, float] = {}
    rounded: list[str] = []
    undetermined = bool(case.ties) and case.family not in (SIZES, DRAWS)
    for name, expected in case.outputs.items():
        if expected.dtype.kind == "U" and case.family not in (SIZES, DRAWS):
            continue  # the name of the largest score: two may be equal
        if problem := comparison.mismatch(actual[name], expected, tolerance.differing):
            wrong.append(f"output '{name}' {problem}")
            continue
        if expected.dtype.kind != "f":
            differing[name] = float((actual[name] != expected).mean()) if expected.size else 0.0
            continue
        output = _Output(actual[name], case, name, usuals.get(name, Usual()), tolerance)
        figures[name] = output.figures
        if tolerance.noise is not None and name in case.exact:
            bounds[name] = output.bound / output.exact_rms if output.exact_rms else 0.0
            if output.bound > LOOSE * max(output.exact_rms, output.usual.rms) and case.family not in (SIZES, DRAWS):
                undetermined = True
                rounded.append(name)
        wrong += [f"output '{name}' {p}" for p in output.problems]
    if not undetermined:
        return Verdict(figures, wrong, [], bounds, differing)
    broken = [f"output '{n}' has NaN or infinities, and the model's has none" for n in _broken(actual, case)]
    if wrong:
        return Verdict(figures, broken, [] if broken else wrong, bounds, differing, list(figures))
    decided = [f"output '{name}' is decided by rounding" for name in rounded]
    return Verdict(figures, broken, decided, bounds, differing, rounded)


def _broken(actual: Mapping[str, Array], case: Case) -> list[str]:
    """The outputs that are not finite where the model's are: rounding does not explain that."""
    import numpy as np

    floats = {n: v for n, v in case.outputs.items() if v.dtype.kind == "f" and actual[n].dtype.kind == "f"}
    return [n for n, v in floats.items() if np.isfinite(v).all() and not np.isfinite(actual[n]).all()]


@dataclass(frozen=True)
class _Output:
    """One floating-point output of one case."""

    actual: Array
    case: Case
    name: str
    usual: Usual
    tolerance: Tolerance

    @property
    def expected(self) -> Array:
        return self.case.outputs[self.name]

    @cached_property
    def exact_rms(self) -> float:
        return _rms(self.case.exact[self.name])

    @cached_property
    def bound(self) -> float:
        """The largest rms of the error that the model's own error allows."""
        # An output that is nearly zero at a family's values is still computed from numbers of the usual size.
        size = self.exact_rms if self._has_scale else max(self.exact_rms, self.usual.rms)
        usual = (self.usual.noise or 0.0) * (size if self._is_drawn else self.exact_rms)
        own = max(_own_error(self.case, self.name)[0], usual)
        bound = self._times * max(own, FLOOR * size)
        # An answer that consists of rounding, as for a constant picture after normalisation, has no scale of its own.
        is_noise = not self._is_drawn and own > LOOSE * self.exact_rms
        # One number added to itself rounds the same way each time: by the order of summation n numbers err up to n/2
        # times as much as one, where others err by its root (Higham, The accuracy of floating point summation, 1993).
        is_flat = self.case.label in FLAT
        return max(bound, self.tolerance.max_rel * size) if is_noise or is_flat else bound

    @property
    def _times(self) -> float:
        """How many times the model's own error is allowed."""
        assert self.tolerance.noise is not None
        return self.tolerance.noise * (1 if self._is_drawn else OF_FLAT if self.case.label in FLAT else FAMILY)

    @property
    def _is_drawn(self) -> bool:
        return self.case.family in (SIZES, DRAWS)

    @property
    def _has_scale(self) -> bool:
        """Whether the numbers themselves say how large they usually are: a few may all be nearly zero by chance."""
        return self._is_drawn and self.expected.size >= FEW

    @property
    def _is_strict(self) -> bool:
        """Whether the constant is tighter than any order of summation: then it applies as it is."""
        return self.tolerance.max_rel < (self.tolerance.noise or 0.0) * FLOOR

    @cached_property
    def figures(self) -> Figures:
        """Relative to the output's largest; at values that nobody draws, or of a few numbers, to its usual largest."""
        relative = comparison.compare(self.actual, self.expected)
        if self._has_scale:
            return relative
        size = max(_largest(self.expected), self.usual.largest)
        shares = {f"{n}_rel": _share(getattr(relative, f"{n}_abs"), size) for n in ("max", "mean", "p99")}
        return replace(relative, **shares)

    @property
    def problems(self) -> list[str]:
        """What is outside the tolerance, in figures."""
        exact = self.case.exact.get(self.name) if self.tolerance.noise is not None else None
        if exact is None:
            return self._beyond_constant()
        error, bound = _rms(self.actual, exact), self.bound
        sentences = []
        if not error <= bound:
            error, bound = (v / max(self.exact_rms, 1e-300) for v in (error, bound))
            sentences = [f"rms {error:.1e} > {bound:.1e}, {self._times:g} times the model's own error"]
        determined = self._is_strict or self.bound <= self.tolerance.max_rel * self._size()
        return sentences + (self._beyond_constant() if determined else [])

    def _beyond_constant(self) -> list[str]:
        """What exceeds the constants; these are widened where the model's own error at the draws exceeds them."""
        tolerance = self.tolerance
        if tolerance.noise and not self._is_strict:
            wider = tolerance.noise * self.usual.most
            if wider > tolerance.max_rel:
                tolerance = replace(tolerance, max_rel=wider, cosine=-1.0, top1=0.0)
            tolerance = replace(tolerance, p99_rel=max(tolerance.p99_rel, wider))
            if not self._is_drawn and self.usual.noise is not None:
                wider = FAMILY * tolerance.max_rel
                tolerance = replace(tolerance, max_rel=wider, p99_rel=max(tolerance.p99_rel, wider))
        if not self._is_drawn:  # scores may be equal there, and an output nearly zero
            tolerance = replace(tolerance, cosine=-1.0, top1=0.0)
        return self.figures.beyond(tolerance)

    def _size(self) -> float:
        own = _largest(self.expected)
        return own if self._has_scale else max(own, self.usual.largest)


def _own_error(case: Case, name: str) -> tuple[float, float]:
    """The error of an output in float32, against its float64 answer: its rms and its largest magnitude."""
    values, exact = case.outputs[name], case.exact[name]
    rms, largest = case.open.get(name, (0.0, 0.0))
    return max(rms, _rms(values, exact)), max(largest, _largest(values, exact))


def _share(error: float, size: float) -> float:
    return (error / size if size else float("inf")) if error else 0.0


def _rms(values: Array, other: Array | None = None) -> float:
    """Of the finite values, or of their differences from others."""
    squares, count = 0.0, 0
    for part in _finite(values, other):
        squares, count = squares + float(part @ part), count + part.size
    return math.sqrt(squares / count) if count else 0.0


def _largest(values: Array, other: Array | None = None) -> float:
    """The largest magnitude of the finite values, or of their differences from others."""
    import numpy as np

    return max((float(np.abs(part).max(initial=0.0)) for part in _finite(values, other)), default=0.0)


def _finite(values: Array, other: Array | None) -> Iterator[Array]:
    """The finite values, or differences from others, in float64: so many at once as take little memory."""
    import numpy as np

    wide = (part.astype("f8") for part in comparison.parts(values))
    if other is not None:
        wide = (part - less for part, less in zip(wide, comparison.parts(other), strict=True))
    return (part[np.isfinite(part)] for part in wide)
