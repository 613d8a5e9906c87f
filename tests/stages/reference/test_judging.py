"""reference/judging.py: the model's own error in float32 is the measure where it is known, else the constant."""

from dataclasses import replace

import numpy as np
import pytest
from harness import tolerance

from stages.reference import judging
from stages.reference.cases import Case

RNG = np.random.default_rng(0)
EXACT = RNG.standard_normal((4, 100))
FP32 = tolerance("fp32")


def case(noise=1e-7, exact=EXACT, **how):
    """A case whose model is off by `noise` of the answer in float64."""
    answer = (exact * (1 + noise * RNG.choice([-1, 1], exact.shape))).astype("f4")
    fields = {"exact": {"y": exact}} | how
    return Case("min", {"x": np.zeros((4, 1), "f4")}, {"y": answer}, **fields)


def judged(error, question, limits=FP32, cases=None):
    """The verdict on an artifact that is off by `error` of the answer in float64."""
    exact = question.exact.get("y", question.outputs["y"].astype("f8"))
    actual = exact + error * np.abs(exact).max() * RNG.choice([-1, 1], exact.shape)
    return judging.judged({"y": actual.astype("f4")}, question, judging.usual(cases or [question]), limits)


@pytest.mark.parametrize(
    ("noise", "error", "wrong"),
    [
        (1e-7, 3e-7, False),
        (1e-7, 8e-6, True),  # a twelfth of the constant
        (1e-6, 2e-6, False),
        (1e-3, 2e-3, False),  # beyond the constant, as the model itself is
        (1e-3, 5e-2, True),
    ],
)
def test_an_error_is_held_to_the_models_own(noise, error, wrong):
    assert bool(judged(error, case(noise)).wrong) is wrong


def test_another_formulas_error_is_the_models_own():
    question = case(1e-7)
    assert judged(8e-6, question).wrong
    left_open = {"y": [4e-6, 1e-5]}
    assert not judged(8e-6, replace(question, open=left_open)).wrong
    larger = replace(case(1e-7), label="max", exact={})
    assert not judged(8e-4, larger, cases=[replace(question, open={"y": [2e-4, 1e-3]}), larger]).wrong


@pytest.mark.parametrize(("noise", "names"), [(1e-3, []), (0.5, ["y"])])
def test_an_output_that_rounding_decides_is_undetermined(noise, names):
    assert judging.undetermined([case(noise), replace(case(noise), label="max", exact={})]) == names
    assert judging.undetermined([case(noise), case(1e-3)]) == []


@pytest.mark.parametrize(("size", "wrong"), [(1, False), (400, True)])
def test_a_few_numbers_near_zero_are_held_to_their_usual_size(size, wrong):
    usually = Case("example", {}, {"y": np.ones((1, size), "f4")})
    near_zero = Case("max", {}, {"y": np.full((1, size), 1e-3, "f4")})
    actual = {"y": near_zero.outputs["y"] + np.float32(2e-7)}
    verdict = judging.judged(actual, near_zero, judging.usual([usually, near_zero]), FP32)
    assert bool(verdict.wrong) is wrong


@pytest.mark.parametrize(("label", "wrong"), [("ones", False), ("large", True)])
def test_where_one_number_fills_the_inputs_more_of_the_models_own_error_is_allowed(label, wrong):
    question = replace(case(1e-4), label=label, family="extremes")
    assert bool(judged(2e-3, question, cases=[case(), question]).wrong) is wrong


@pytest.mark.parametrize("error", [1e-3, 0.9])
def test_the_error_of_an_output_that_rounding_decides_is_no_figure_of_the_artifact(error):
    question = replace(case(5e-2), label="large", family="extremes")
    verdict = judged(error, question, cases=[case(), question])
    assert not verdict.wrong
    assert verdict.worst == 0.0
    assert verdict.figures["y"].max_rel > error / 10
    assert verdict.unsure if error > 0.5 else list(verdict.unsure) == ["output 'y' is decided by rounding"]


def test_without_float64_the_constant_is_all_there_is():
    for noise in (None, FP32.noise):
        unknown = case(exact=EXACT) if noise is None else replace(case(), exact={})
        assert not judged(8e-6, unknown, replace(FP32, noise=noise)).wrong
        assert judged(3e-4, unknown, replace(FP32, noise=noise)).wrong


def test_where_the_model_is_not_determined_that_well_larger_sizes_are_given_as_much():
    smallest, largest = case(1e-3), replace(case(1e-3), label="max", exact={})
    assert not judged(5e-4, largest, cases=[smallest, largest]).wrong
    assert judged(5e-4, replace(case(), exact={}), cases=[case()]).wrong


def test_a_constant_that_no_order_of_summation_keeps_is_meant_as_it_is():
    for question in (case(1e-3), replace(case(1e-3), exact={})):
        assert judged(1e-5, question, replace(FP32, max_rel=0.0)).wrong


def test_a_small_output_beside_a_large_one_is_judged_by_itself():
    both = Case("min", {}, {"large": 1e6 * EXACT.astype("f4"), "small": EXACT.astype("f4")})
    actual = {"large": both.outputs["large"], "small": both.outputs["small"] + np.float32(1e-2)}
    problem, *_ = judging.judged(actual, both, judging.usual([both]), FP32).wrong
    assert problem.startswith("output 'small'")


def test_an_output_that_is_next_to_nothing_at_values_of_a_family_is_held_to_its_usual_size():
    nothing = Case("zeros", {}, {"y": np.zeros((4, 100), "f4")}, family="extremes", exact={"y": np.zeros((4, 100))})
    usuals = judging.usual([case()])
    for error, wrong in ((1e-7, False), (1e-3, True)):
        actual = {"y": np.full((4, 100), error, "f4")}
        assert bool(judging.judged(actual, nothing, usuals, FP32).wrong) is wrong
        assert judging.judged(actual, replace(nothing, family="sizes"), usuals, FP32).wrong


@pytest.mark.parametrize(("family", "wrong"), [("sizes", 1), ("draws", 1), ("values", 0), ("extremes", 0)])
def test_ties_excuse_what_nobody_draws_and_are_told(family, wrong):
    tied = replace(case(), family=family, ties=["topk at net.py:3"])
    verdict = judged(0.5, tied)
    assert (len(verdict.wrong) > 0, len(verdict.unsure) > 0) == (bool(wrong), not wrong)
    assert not judged(1e-7, tied).unsure


@pytest.mark.parametrize(("error", "wrong"), [(1e-5, False), (1e-3, True)])
def test_an_answer_that_is_rounding_alone_is_held_to_the_constant(error, wrong):
    nothing = case(exact=np.full((4, 100), 1e-9), noise=100, family="extremes")
    actual = {"y": np.full((4, 100), error, "f4")}
    assert bool(judging.judged(actual, nothing, judging.usual([case()]), FP32).wrong) is wrong


def test_ties_do_not_excuse_what_is_not_finite():
    tied = replace(case(), family="extremes", ties=["topk at net.py:3"])
    verdict = judging.judged({"y": np.full((4, 90), np.nan, "f4")}, tied, judging.usual([case()]), FP32)
    assert verdict.wrong == ["output 'y' has NaN or infinities, and the model's has none"]


@pytest.mark.parametrize(("precision", "others", "wrong"), [("fp32", 1, True), ("fp16", 4, False), ("fp16", 5, True)])
@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_a_share_of_whole_numbers_and_truths_may_differ_where_precision_is_lowered(dtype, precision, others, wrong):
    question = Case("min", {}, {"classes": np.zeros((4, 100), dtype)})
    answer = question.outputs["classes"].copy()
    answer.ravel()[:others] = 1
    verdict = judging.judged({"classes": answer}, question, {}, tolerance(precision))
    assert (bool(verdict.wrong), verdict.differing) == (wrong, {} if wrong else {"classes": others / 400})


@pytest.mark.parametrize(
    ("label", "error", "wrong"), [("ones", 1e-5, False), ("ones", 3e-4, True), ("ties", 1e-5, True)]
)
def test_sums_of_one_number_are_held_to_the_constant_and_others_to_the_models_own_error(label, error, wrong):
    assert bool(judged(error, replace(case(family="extremes"), label=label)).wrong) is wrong


@pytest.mark.parametrize(
    ("family", "error", "wrong"), [("extremes", 1.5e-4, 0), ("extremes", 2.5e-4, 1), ("sizes", 1.5e-4, 1)]
)
def test_a_single_number_may_be_twice_as_far_off_at_values_that_nobody_draws(family, error, wrong):
    actual = EXACT.astype("f4")
    actual[0, 0] += np.float32(error * np.abs(EXACT).max())
    for exact in ({"y": EXACT}, {}):  # it is not asked everywhere
        question = replace(case(5e-6), family=family, exact=exact)
        assert len(judging.judged({"y": actual}, question, judging.usual([case()]), FP32).wrong) == wrong


def test_the_models_own_error_is_measured_in_parts_as_in_one(monkeypatch):
    question = case(noise=1e-6)
    whole = judged(1e-3, question)
    monkeypatch.setattr(judging.comparison, "PART", 7)
    parts = judged(1e-3, question)
    assert parts.bound == pytest.approx(whole.bound, rel=1e-12)
    assert [w[:20] for w in parts.wrong] == [w[:20] for w in whole.wrong] != []
