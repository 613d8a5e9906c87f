"""Compares an artifact's outputs with the PyTorch model's.

Only the standard library and numpy: the self-check of a bundle contains this text; see delivery/bundle.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

PART = 2**20  # numbers that are compared at once, in float64
TIED = 2.0**-18  # as a share of the largest number: what is closer to the largest is tied with it


# Not frozen: OmegaConf makes a frozen dataclass read-only before it has filled it.
@dataclass
class Tolerance:
    """How far outputs may be from the reference. conf/tolerance/ gives the values and their reasons.

    Args:
        max_rel: Largest error, as a share of the output's largest magnitude in the reference.
        p99_rel: The error that 99 % of elements stay within, as a share of the same magnitude.
        cosine: Smallest cosine similarity of the whole output, in -1..1.
        top1: Smallest share of rows whose largest element is at the same place, or at one tied with it, in 0..1.
        differing: Largest share of differing elements in an output of integers or booleans, in 0..1.
        noise: Allowed multiple of the model's own float32 error, measured against its float64 output; None for no such
            limit.
        families: The most extreme family of input values to test: sizes, draws, values or extremes.
    """

    max_rel: float
    p99_rel: float
    cosine: float
    top1: float
    # These defaults are the behaviour from before the settings existed.
    differing: float = 0.0
    noise: Optional[float] = None
    families: str = "sizes"

    def __str__(self) -> str:
        limits = (
            f"max_rel ≤ {self.max_rel:g}, p99_rel ≤ {self.p99_rel:g}, cosine ≥ {self.cosine:g}, top1 ≥ {self.top1:g}"
        )
        limits += f", differing ≤ {self.differing:g}" if self.differing else ""
        return limits + (f", and {self.noise:g} times the model's own error in float32" if self.noise else "")


@dataclass(frozen=True)
class Figures:
    """The comparison of one output with its reference.

    Relative errors are shares of the largest magnitude in the reference: relative to each element, any rounding of a
    value near zero would look like a large error and hide real ones. They are 0 where both are 0, and infinite where
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
        """The figures outside the tolerance, each as "max_rel 3.1e-02 > 1.0e-04"."""
        problems = [
            f"{name} {value:.1e} > {limit:.1e}"
            for name, value, limit in (
                ("max_rel", self.max_rel, tolerance.max_rel),
                ("p99_rel", self.p99_rel, tolerance.p99_rel),
            )
            if not value <= limit
        ]
        if not self.cosine >= tolerance.cosine:
            problems.append(f"cosine {self.cosine:.6f} < {tolerance.cosine:.6f}")
        if self.top1 is not None and not self.top1 >= tolerance.top1:
            problems.append(f"top1 {self.top1:.3f} < {tolerance.top1:.3f}")
        return problems


def compared(
    outputs: Mapping[str, Array], expected: Mapping[str, Array], tolerance: Tolerance
) -> tuple[dict[str, Figures], list[str]]:
    """The figures of each floating-point output, and the problems of all outputs, a sentence each."""
    if set(outputs) != set(expected):
        return {}, [f"its outputs are {', '.join(outputs)}, the model's are {', '.join(expected)}"]
    figures: dict[str, Figures] = {}
    wrong = []
    for name in expected:
        if problem := mismatch(outputs[name], expected[name], tolerance.differing):
            wrong.append(f"output '{name}' {problem}")
        elif expected[name].dtype.kind == "f":
            figures[name] = compare(outputs[name], expected[name])
            wrong += [f"output '{name}' {b}" for b in figures[name].beyond(tolerance)]
    return figures, wrong


def mismatch(output: Array, expected: Array, differing: float = 0.0) -> str:
    """Why two outputs do not match: shape, type, or the places of NaN and infinities. Empty if they do.

    For integers and booleans also: more than the share `differing` of the elements differ.
    """
    import numpy as np

    if output.shape != expected.shape:
        return f"has shape {output.shape}, the model's has {expected.shape}"
    if output.dtype != expected.dtype:
        return f"has type {output.dtype}, the model's has {expected.dtype}"
    if not np.issubdtype(expected.dtype, np.floating):
        others = int((output != expected).sum())
        return (
            f"differs from the model's in {others} of {expected.size} elements"
            if others > differing * expected.size
            else ""
        )
    for name, test in (("NaN", np.isnan), ("+Inf", np.isposinf), ("-Inf", np.isneginf)):
        if (here := test(output)) is not None and not np.array_equal(here, test(expected)):
            return f"has {int(here.sum())} {name}, the model's has {int(test(expected).sum())} or has them elsewhere"
    return ""


def compare(output: Array, expected: Array) -> Figures:
    """The figures for two floating-point outputs of the same shape, type and non-finite places."""
    import numpy as np

    count = sum(int(np.isfinite(part).sum()) for part in parts(expected))
    if not count:
        return Figures(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, None)
    place = 0.99 * (count - 1)  # of the 99th percentile in the order of size, between two errors
    above = count - int(place)
    largest, total, scale = np.empty(0), 0.0, 0.0
    product, square, reference_square = 0.0, 0.0, 0.0
    for part, reference in zip(parts(output), parts(expected), strict=True):
        finite = np.isfinite(reference)
        a, b = part[finite].astype(np.float64), reference[finite].astype(np.float64)
        error = np.abs(a - b)
        total += float(error.sum())
        scale = max(scale, float(np.abs(b).max(initial=0.0)))
        product, square, reference_square = product + a @ b, square + a @ a, reference_square + b @ b
        largest = np.concatenate([largest, error])
        if largest.size > above:
            largest = np.partition(largest, -above)[-above:]
    largest.sort()
    percentile = float(np.quantile(largest[:2], place % 1))
    absolute = (float(largest[-1]), total / count, percentile)

    def share(value: float) -> float:
        return (value / scale if scale else float("inf")) if value else 0.0

    shares = (share(absolute[0]), share(absolute[1]), share(absolute[2]))
    norms = float(np.sqrt(square) * np.sqrt(reference_square))
    cosine = float(product / norms) if norms else float(not largest[-1])
    return Figures(*absolute, *shares, cosine, _top1(output, expected))


def parts(values: Array) -> Iterator[Array]:
    """The numbers of an array in its order, so many at once that all of them widened take little memory."""
    flat = values.reshape(-1)
    return (flat[at : at + PART] for at in range(0, flat.size, PART))


def _top1(output: Array, expected: Array) -> float | None:
    """The share of rows that agree on the largest element; None unless the output is rows of scores.

    Of several that are tied for the largest, each will do: rounding decides between them.
    """
    import numpy as np

    if expected.ndim != 2 or expected.shape[1] < 2:
        return None
    chosen = np.take_along_axis(expected, output.argmax(axis=1)[:, None], 1)[:, 0].astype("f8")
    tied = TIED * float(np.abs(expected).max(initial=0.0, where=np.isfinite(expected)))
    largest = expected.max(axis=1)
    return float(((chosen == largest) | (largest - chosen <= tied)).mean())


def worst(figures: Mapping[str, Figures]) -> float:
    """The largest max_rel of several outputs."""
    return max((f.max_rel for f in figures.values()), default=0.0)


def is_blind(answers: Sequence[Array]) -> bool:
    """Whether an output is empty or the same for every row of its shape; False where there are too few rows."""
    if not any(answer.size for answer in answers):
        return True
    by_shape: dict[tuple[int, ...], list[Array]] = {}
    for row in (row for answer in answers if answer.ndim for row in answer):
        by_shape.setdefault(row.shape, []).append(row)
    groups = [rows for rows in by_shape.values() if len(rows) > 1]
    # Rows of different shapes are blind too where all have one and the same number.
    alike = (
        len({float(v) for rows in by_shape.values() for row in rows for v in (row.min(), row.max()) if row.size}) == 1
    )
    return (bool(groups) or alike) and all((r == rows[0]).all() for rows in groups for r in rows)
