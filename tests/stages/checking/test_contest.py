"""checking/contest.py: what times come to, whose turn it is, and what is said of a contender that dies."""

from __future__ import annotations

import pytest

from stages.checking.contest import Figures, claim, in_turn


def figures(*blocks, items=1, noisy_above=0.1):
    return Figures.from_blocks(blocks, items, noisy_above)


def test_percentiles_are_times_that_were_measured():
    actual = figures([float(n) for n in range(1, 51)], [float(n) for n in range(51, 101)])
    assert (actual.p50_ms, actual.p90_ms, actual.p99_ms, actual.inferences) == (50.0, 90.0, 99.0, 100)


def test_throughput_counts_the_items_of_every_inference_by_all_the_time():
    assert figures([10.0, 30.0], items=4).items_per_second == 8 / 0.04


@pytest.mark.parametrize(
    ("blocks", "spread"),
    [
        ([[10.0], [10.0], [10.0]], 0.0),
        ([[9.0, 9.0, 50.0], [10.0], [11.0]], 0.2),  # a slow inference in a block is not a slow block
        ([[10.0], [13.0], [10.0]], 0.3),
    ],
)
def test_the_spread_is_how_far_the_medians_of_blocks_lie_apart(blocks, spread):
    assert figures(*blocks).spread == pytest.approx(spread)


@pytest.mark.parametrize(("noisy_above", "noisy"), [(0.29, True), (0.31, False)])
def test_a_spread_above_what_is_allowed_is_noisy(noisy_above, noisy):
    assert figures([10.0], [13.0], [10.0], noisy_above=noisy_above).noisy is noisy


def test_blocks_are_taken_in_turn_and_the_last_peak_counts():
    order = []

    class Counting:
        def __init__(self, name):
            self.name = name

        def block(self, seconds, warmup):
            order.append((self.name, seconds, warmup))
            return {"ms": [float(len(order))], "peak_bytes": len(order)}

    blocks, peaks = in_turn([Counting("a"), Counting("b")], 3, 0.5, 2)
    assert order == [("a", 0.5, 2), ("b", 0.5, 2)] * 3
    assert blocks == {"a": [[1.0], [3.0], [5.0]], "b": [[2.0], [4.0], [6.0]]}
    assert peaks == {"a": 5, "b": 6}


QUIET = {"p50_ms": 5.0, "p99_ms": 6.0, "spread": 0.03, "noisy": False}
SPREAD = {**QUIET, "spread": 1.86, "noisy": True}
TAIL = {**QUIET, "p99_ms": 45.0}


@pytest.mark.parametrize(
    ("contenders", "says"),
    [
        ({"onnx": QUIET, "eager": QUIET}, "5 ms, 40.61×"),
        ({"onnx": QUIET, "eager": {**QUIET, "p99_ms": 10.0}}, "5 ms, 40.61×"),
        ({"onnx": QUIET, "eager": SPREAD}, "5 ms; NOISY: eager spread 186%"),
        ({"onnx": TAIL, "eager": QUIET}, "5 ms; NOISY: onnx p99 9× p50"),
        (
            {"onnx": SPREAD | {"p99_ms": 45.0}, "eager": SPREAD},
            "5 ms; NOISY: onnx spread 186%, p99 9× p50; eager spread 186%",
        ),
        ({"onnx": QUIET, "eager": QUIET, "torch_compile": TAIL}, "5 ms, 40.61×; NOISY: torch_compile p99 9× p50"),
    ],
)
def test_noisy_figures_are_compared_with_nothing(contenders, says):
    assert claim("5 ms", ", 40.61×", contenders) == says
