"""portable/comparison.py: figures of two outputs, and what they take."""

from __future__ import annotations

import tracemalloc
from dataclasses import astuple

import numpy as np
import pytest

from stages.portable import comparison

DRAWN = np.random.default_rng(0)
MANY = DRAWN.standard_normal((2, 2**17)).astype("f4")


def pair(dtype="f4", size=1000):
    expected = DRAWN.standard_normal(size).astype(dtype)
    return (expected * (1 + DRAWN.standard_normal(size) / 1000)).astype(dtype), expected


@pytest.mark.parametrize("size", [1, 2, 100, 101, 102, 1000])
def test_figures_in_parts_are_those_of_the_whole(size, monkeypatch):
    output, expected = pair(size=size)
    error = np.abs(output.astype("f8") - expected)
    whole = comparison.compare(output, expected)
    assert (whole.max_abs, whole.p99_abs) == (error.max(), np.percentile(error, 99))
    assert whole.cosine == pytest.approx(np.corrcoef(output, expected)[0, 1] if size > 100 else 1, abs=1e-3)
    monkeypatch.setattr(comparison, "PART", 7)
    assert astuple(comparison.compare(output, expected))[:7] == pytest.approx(astuple(whole)[:7], rel=1e-12)


def test_numbers_that_are_not_finite_on_both_sides_are_not_compared(monkeypatch):
    monkeypatch.setattr(comparison, "PART", 7)
    output, expected = pair()
    output[[3, 700]] = expected[[3, 700]] = [np.inf, np.nan]
    figures = comparison.compare(output, expected)
    assert figures.max_abs == np.nanmax(np.abs(np.delete(output, 3).astype("f8") - np.delete(expected, 3)))
    output[5] = np.nan
    assert comparison.compare(output, expected).beyond(comparison.Tolerance(1, 1, -1, 0))


def test_a_large_output_is_not_widened_as_a_whole(monkeypatch):
    monkeypatch.setattr(comparison, "PART", 2**10)
    tracemalloc.start()
    comparison.compare(*MANY)
    assert tracemalloc.get_traced_memory()[1] < MANY[0].nbytes / 2
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("chosen", "top1"),
    [([0.0, 1.0, 1.0 - 1e-7, 0.0], 1.0), ([0.0, 1.0 - 1e-7, 1.0, 0.0], 1.0), ([0.0, 1.0 - 1e-4, 1.0, 0.0], 0.5)],
)
def test_of_tied_scores_each_may_be_the_largest(chosen, top1):
    """The second row agrees in any case."""
    expected = np.array([chosen, [3.0, 0.0, 0.0, 0.0]], "f4") / [[1], [3]]
    output = np.array([[0.0, 1.0, 0.9, 0.0], [1.0, 0.0, 0.0, 0.0]], "f4")
    assert comparison.compare(output, expected).top1 == top1
