"""checking/alike.py: a value is known again whatever its name, shape and order are, and no other is taken for it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stages.checking import alike
from stages.checking.alike import Values
from stages.formats.inner import Inner

HERE = np.random.default_rng(0).standard_normal((2, 3, 4)).astype("f4")


@pytest.mark.parametrize(
    ("there", "moved"),
    [
        (HERE, False),
        (HERE.reshape(6, 4), False),
        (HERE[None], False),
        (HERE.transpose(0, 2, 1), True),
        (HERE.transpose(2, 0, 1)[:, None], True),
        (HERE * np.float32(1 + 1e-6), False),
    ],
)
def test_a_value_is_known_in_other_shapes_and_orders_and_comes_back_in_its_own(there, moved):
    match = Values(Inner({"other": [HERE + 1], "node": [there]})).like(HERE, 1e-5)
    assert (match.node, match.moved) == ("node", moved)
    np.testing.assert_allclose(match.values, HERE, rtol=1e-5)


@pytest.mark.parametrize(
    "there",
    [HERE * np.float32(1.001), HERE[:, ::-1], HERE[:1], np.where(HERE > 1, np.nan, HERE), np.zeros_like(HERE)],
)
def test_no_other_value_is_taken_for_it(there):
    assert Values(Inner({"node": [there]})).like(HERE, 1e-5) is None


def test_the_closest_of_those_that_are_not_known_is_found_however_far_off():
    values = Values(Inner({"known": [HERE], "far": [HERE * 3], "near": [HERE * 2]}))
    match = values.closest(HERE, {"known"})
    assert (match.node, round(match.error, 3)) == ("near", 1.0)


@pytest.mark.parametrize(
    ("match", "expected", "error"),
    [
        ([1.0, 2.0], [1.0, 4.0], 0.5),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([1.0, np.nan], [1.0, np.nan], 0.0),
        ([1.0, 2.0], [1.0, np.nan], math.inf),
        ([1.0, np.inf], [1.0, 2.0], math.inf),
        ([1, 2], [1, 3], math.inf),
        ([True, False], [True, False], 0.0),
    ],
)
def test_a_difference_is_a_share_of_the_models_largest_number(match, expected, error):
    assert alike.difference(np.array(match), np.array(expected)) == error


@pytest.mark.parametrize(
    ("values", "tells"),
    [
        (HERE, True),
        (np.zeros(8), False),
        (np.array([0.0, 1.0] * 8), False),
        (np.array(0.7), True),
        (np.array(1.0), False),
    ],
)
def test_what_is_made_of_two_numbers_tells_nothing(values, tells):
    assert alike.is_distinctive(values) is tells
