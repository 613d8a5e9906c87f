"""stages/_compare.py: how far two outputs are apart, and where the line is drawn."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from harness import tolerance

from stages._compare import Figures, Tolerance, compare, is_blind, mismatch, worst

SCORES = np.array([[1.0, 2.0, 4.0], [3.0, -8.0, 1.0]], dtype=np.float32)
LIMITS = Tolerance(max_rel=1e-4, p99_rel=1e-5, cosine=0.999, top1=0.5)
WITHIN = Figures(0.0, 0.0, 0.0, max_rel=1e-4, mean_rel=0.0, p99_rel=1e-5, cosine=0.999, top1=0.5)


def changed(at, value, dtype=np.float32):
    found = SCORES.astype(dtype)
    found[at] = value
    return found


def test_equal_outputs_have_no_error():
    assert compare(SCORES, SCORES) == Figures(0, 0, 0, 0, 0, 0, pytest.approx(1.0), 1.0)


def test_errors_are_shares_of_the_largest_magnitude():
    figures = compare(changed((0, 0), 1.5), SCORES)
    assert (figures.max_abs, figures.mean_abs) == (0.5, pytest.approx(0.5 / 6))
    assert (figures.max_rel, figures.mean_rel) == (0.5 / 8, pytest.approx(0.5 / 6 / 8))


def test_the_99th_percentile_leaves_out_a_single_outlier():
    wanted = np.ones(1000, dtype=np.float32)
    found = wanted.copy()
    found[7] = 2.0
    assert (compare(found, wanted).p99_rel, compare(found, wanted).max_rel) == (0.0, 1.0)


def test_the_cosine_sees_a_flipped_sign():
    assert compare(-SCORES, SCORES).cosine == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("found", "share"),
    [(SCORES, 1.0), (changed((0, 0), 9.0), 0.5), (SCORES[:, ::-1].copy(), 0.0)],
    ids=["all", "half", "none"],
)
def test_top1_is_the_share_of_rows_that_agree(found, share):
    assert compare(found, SCORES).top1 == share


@pytest.mark.parametrize("shape", [(6,), (6, 1), (1, 2, 3)])
def test_what_is_not_rows_of_scores_has_no_top1(shape):
    assert compare(SCORES.reshape(shape), SCORES.reshape(shape)).top1 is None


@pytest.mark.parametrize(
    ("value", "max_rel", "cosine"), [(0.0, 0.0, 1.0), (1.0, math.inf, 0.0)], ids=["zero too", "not zero"]
)
def test_a_reference_of_zeros(value, max_rel, cosine):
    figures = compare(np.full(3, value, np.float32), np.zeros(3, np.float32))
    assert (figures.max_rel, figures.cosine) == (max_rel, cosine)


def test_non_finite_places_that_agree_are_left_out():
    wanted = changed((0, 0), np.nan)
    wanted[1, 1] = np.inf
    assert mismatch(wanted, wanted) == ""
    assert compare(wanted, wanted).max_rel == 0.0


def test_float16_outputs_are_compared_without_overflow():
    huge = np.full(100, 60000, dtype=np.float16)
    assert compare(huge, huge).cosine == pytest.approx(1.0)


def test_an_output_with_no_elements_agrees():
    empty = np.zeros((0, 4), np.float32)
    assert compare(empty, empty).beyond(tolerance("fp32")) == []


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (SCORES[:1], "has shape (1, 3), the model's has (2, 3)"),
        (SCORES.astype(np.float64), "has type float64, the model's has float32"),
        (SCORES.astype(np.float16), "has type float16, the model's has float32"),
        (changed((0, 0), np.nan), "has 1 NaN, the model's has 0"),
        (changed((0, 0), np.inf), "has 1 +Inf, the model's has 0"),
        (changed((0, 0), -np.inf), "has 1 -Inf, the model's has 0"),
    ],
)
def test_outputs_that_cannot_be_compared(found, says):
    assert says in mismatch(found, SCORES)


def test_nan_in_another_place_is_a_mismatch():
    assert "elsewhere" in mismatch(changed((0, 0), np.nan), changed((1, 1), np.nan))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.bool_, np.uint8])
def test_whole_numbers_must_be_equal(dtype):
    wanted = np.array([0, 1, 1, 0], dtype=dtype)
    assert mismatch(wanted, wanted) == ""
    assert mismatch(np.array([1, 1, 1, 0], dtype=dtype), wanted) == "differs from the model's in 1 of 4 elements"


def test_what_lies_on_the_line_is_within():
    assert WITHIN.beyond(LIMITS) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_rel", math.nextafter(1e-4, 1)),
        ("p99_rel", math.nextafter(1e-5, 1)),
        ("cosine", math.nextafter(0.999, 0)),
        ("top1", math.nextafter(0.5, 0)),
        ("max_rel", math.inf),
        ("max_rel", math.nan),
        ("p99_rel", math.nan),
        ("cosine", math.nan),
        ("top1", math.nan),
    ],
)
def test_what_lies_beyond_the_line_is_named(name, value):
    (beyond,) = replace(WITHIN, **{name: value}).beyond(LIMITS)
    assert beyond.startswith(name)


def test_outputs_without_top1_are_not_held_to_it():
    assert replace(WITHIN, top1=None).beyond(LIMITS) == []


def test_worst_is_the_largest_of_all_outputs():
    assert worst({"a": WITHIN, "b": replace(WITHIN, max_rel=0.3)}) == 0.3
    assert worst({}) == 0.0


def rows(*shapes, value=None):
    rng = np.random.default_rng(0)
    return [np.full(s, value, np.float32) if value is not None else rng.random(s, np.float32) for s in shapes]


BLIND = [
    (rows((2, 4), (3, 4)), False),
    (rows((2, 4), (3, 4), value=1.5), True),
    (rows((2, 4), (3, 6), value=0.0), True),  # each shape by itself
    (rows((1, 4), (1, 6), value=0.0), True),
    (rows((1, 4), (1, 6)), False),  # too few rows to tell
    (rows((0, 4), (0, 6)), True),
    ([np.tile(r, (3, 1)) for r in rows((1, 4))], True),
]


@pytest.mark.parametrize(("answers", "blind"), BLIND)
def test_an_output_is_blind_where_no_two_rows_of_a_shape_differ(answers, blind):
    assert is_blind(answers) is blind
