"""How far an artifact's outputs are from the PyTorch model's.

The standard library and numpy alone: the self-check of a bundle carries this text; see delivery/bundle.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


# Not frozen: OmegaConf makes a frozen dataclass read-only before it has filled it.
@dataclass
class Tolerance:
    """How far outputs may be from the reference. conf/tolerance/ gives the values and their reasons.

    Args:
        max_rel: Largest error, as a share of the output's largest magnitude in the reference.
        p99_rel: The error that 99 % of elements stay within, likewise.
        cosine: Smallest cosine similarity of the whole output, in -1..1.
        top1: Smallest share of rows whose largest element is at the same place, in 0..1.
        differing: Largest share of the elements of an output of whole numbers or truths that are others, in 0..1.
        noise: How many times the error that the model itself makes in float32, against its answer in float64; None for
            the shares above alone.
        families: How far from the draws values may be that are asked about: sizes, draws, values or extremes.
    """

    max_rel: float
    p99_rel: float
    cosine: float
    top1: float
    # What follows has the values that it had before there was a choice.
    differing: float = 0.0
    noise: Optional[float] = None
    families: str = "sizes"

    def __str__(self) -> str:
        told = f"max_rel ≤ {self.max_rel:g}, p99_rel ≤ {self.p99_rel:g}, cosine ≥ {self.cosine:g}, top1 ≥ {self.top1:g}"
        told += f", differing ≤ {self.differing:g}" if self.differing else ""
        return told + (f", and {self.noise:g} times the model's own error in float32" if self.noise else "")


@dataclass(frozen=True)
class Figures:
    """The comparison of one output with its reference.

    Relative errors are shares of the largest magnitude in the reference: per element, a value near zero would make
    any rounding look like a gross error and drown one that matters. They are 0 where both are 0, and infinite where
    the reference is 0 and the output is not.
    """

    max_abs: float
    mean_abs: float
    p99_abs: float
    max_rel: float
    mean_rel: float
    p99_rel: float
    cosine: float
    top1: float | None

    def beyond(self, tolerance: Tolerance) -> list[str]:
        """What lies outside the tolerance, each as "max_rel 3.1e-02 > 1.0e-04"."""
        found = [
            f"{name} {value:.1e} > {limit:.1e}"
            for name, value, limit in (
                ("max_rel", self.max_rel, tolerance.max_rel),
                ("p99_rel", self.p99_rel, tolerance.p99_rel),
            )
            if not value <= limit
        ]
        if not self.cosine >= tolerance.cosine:
            found.append(f"cosine {self.cosine:.6f} < {tolerance.cosine:.6f}")
        if self.top1 is not None and not self.top1 >= tolerance.top1:
            found.append(f"top1 {self.top1:.3f} < {tolerance.top1:.3f}")
        return found


def compared(
    found: Mapping[str, Array], wanted: Mapping[str, Array], tolerance: Tolerance
) -> tuple[dict[str, Figures], list[str]]:
    """The figures of each floating-point output, and what is wrong with any, a sentence each."""
    if set(found) != set(wanted):
        return {}, [f"its outputs are {', '.join(found)}, the model's are {', '.join(wanted)}"]
    figures: dict[str, Figures] = {}
    wrong = []
    for name in wanted:
        if problem := mismatch(found[name], wanted[name], tolerance.differing):
            wrong.append(f"output '{name}' {problem}")
        elif wanted[name].dtype.kind == "f":
            figures[name] = compare(found[name], wanted[name])
            wrong += [f"output '{name}' {b}" for b in figures[name].beyond(tolerance)]
    return figures, wrong


def mismatch(found: Array, wanted: Array, differing: float = 0.0) -> str:
    """In words, what makes two outputs incomparable: shape, type, or where NaN and infinities are. Empty if nothing.

    Of whole numbers and truths, a larger share than `differing` that are others is told too.
    """
    import numpy as np

    if found.shape != wanted.shape:
        return f"has shape {found.shape}, the model's has {wanted.shape}"
    if found.dtype != wanted.dtype:
        return f"has type {found.dtype}, the model's has {wanted.dtype}"
    if not np.issubdtype(wanted.dtype, np.floating):
        others = int((found != wanted).sum())
        return (
            f"differs from the model's in {others} of {wanted.size} elements"
            if others > differing * wanted.size
            else ""
        )
    for name, test in (("NaN", np.isnan), ("+Inf", np.isposinf), ("-Inf", np.isneginf)):
        if (here := test(found)) is not None and not np.array_equal(here, test(wanted)):
            return f"has {int(here.sum())} {name}, the model's has {int(test(wanted).sum())} or has them elsewhere"
    return ""


def compare(found: Array, wanted: Array) -> Figures:
    """The figures for two floating-point outputs of the same shape, type and non-finite places."""
    import numpy as np

    finite = np.isfinite(wanted)
    a, b = found[finite].astype(np.float64), wanted[finite].astype(np.float64)
    error = np.abs(a - b)
    if not error.size:
        return Figures(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, None)
    absolute = (float(error.max()), float(error.mean()), float(np.percentile(error, 99)))
    scale = float(np.abs(b).max())

    def share(value: float) -> float:
        return (value / scale if scale else float("inf")) if value else 0.0

    shares = (share(absolute[0]), share(absolute[1]), share(absolute[2]))
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(a @ b) / norms if norms else float(not error.any())
    return Figures(*absolute, *shares, cosine, _top1(found, wanted))


def _top1(found: Array, wanted: Array) -> float | None:
    """The share of rows that agree on the largest element; None unless the output is rows of scores."""
    if wanted.ndim != 2 or wanted.shape[1] < 2:
        return None
    return float((found.argmax(axis=1) == wanted.argmax(axis=1)).mean())


def worst(figures: Mapping[str, Figures]) -> float:
    """The largest max_rel of several outputs."""
    return max((f.max_rel for f in figures.values()), default=0.0)


def is_blind(answers: Sequence[Array]) -> bool:
    """Whether an output is empty or the same for every row of its shape; False where too few rows tell."""
    if not any(answer.size for answer in answers):
        return True
    by_shape: dict[tuple[int, ...], list[Array]] = {}
    for row in (row for answer in answers if answer.ndim for row in answer):
        by_shape.setdefault(row.shape, []).append(row)
    told = [rows for rows in by_shape.values() if len(rows) > 1]
    # Of rows that each have a shape of their own, one number throughout says nothing either.
    alike = (
        len({float(v) for rows in by_shape.values() for row in rows for v in (row.min(), row.max()) if row.size}) == 1
    )
    return (bool(told) or alike) and all((r == rows[0]).all() for rows in told for r in rows)
