"""The check as it was before it searched: four sizes that grow together, and constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from stages.interface import fills
from stages.interface.interface import Dim, Input, cases

Arrays = Mapping[str, Any]
MAX_REL, P99_REL, COSINE = 1e-4, 5e-5, 0.999999


def questions(inputs: Mapping[str, Input], dims: Mapping[str, Dim]) -> list[Arrays]:
    """The example's sizes, the smallest, odd ones, the largest; one draw each."""
    return [fills.draw(inputs, sizes, 0) for sizes in cases(dims).values()]


def agrees(run: Callable[[Arrays], Arrays], answered: list[tuple[Arrays, Arrays]]) -> bool:
    """Whether an artifact would have passed.

    Args:
        run: The artifact.
        answered: Questions with the answers of the eager model.
    """
    for inputs, expected in answered:
        try:
            actual = run(inputs)
        except Exception:  # a runtime raises anything; a size that it rejects is a failure
            return False
        if set(actual) != set(expected) or not all(_is_like(actual[n], expected[n]) for n in expected):
            return False
    return True


def _is_like(actual: Any, expected: Any) -> bool:
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return False
    if expected.dtype.kind != "f":
        return bool(np.array_equal(actual, expected))
    if not all(np.array_equal(test(actual), test(expected)) for test in (np.isnan, np.isposinf, np.isneginf)):
        return False
    finite = np.isfinite(expected)
    a, b = actual[finite].astype(np.float64), expected[finite].astype(np.float64)
    error, largest = np.abs(a - b), float(np.abs(b).max(initial=0))
    if not error.any():
        return True
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if error.max() > MAX_REL * largest or np.percentile(error, 99) > P99_REL * largest or a @ b < COSINE * norms:
        return False
    rows = expected.ndim == 2 and expected.shape[1] > 1
    return not rows or bool((actual.argmax(1) == expected.argmax(1)).all())
