"""The tree of errors: what a person reads and the exit codes that scripts rely on."""

import pytest

from pipeline import errors
from pipeline.errors import Problem

CODES = {"DrydockError": 1, "ConfigError": 2, "StageError": 3, "BackendMissing": 4, "CheckFailed": 5}


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_each_outcome_has_the_exit_code_that_the_docs_promise(name, code):
    error = getattr(errors, name)("x")
    assert error.exit_code == code
    assert isinstance(error, errors.DrydockError)


def test_codes_without_an_exception_are_what_the_docs_promise():
    assert (errors.OK, errors.SWEEP_FAILED, errors.INTERRUPTED) == (0, 6, 130)


def test_a_problem_reads_as_what_is_wrong_what_is_allowed_and_what_to_type():
    problem = Problem("stages.export.opset is 9", allowed="17 to 20", command="opset=18")
    assert str(problem) == "stages.export.opset is 9\n  allowed: 17 to 20\n  try:     opset=18"


def test_a_problem_says_nothing_that_it_does_not_know():
    assert str(Problem("it is broken")) == "it is broken"


def test_a_place_is_put_before_the_sentence_and_changes_nothing_else():
    problem = Problem("opset is 9", allowed="17", command="opset=17")
    assert problem.at("stages.export.") == Problem("stages.export.opset is 9", allowed="17", command="opset=17")


def test_an_error_shows_every_problem():
    error = errors.ConfigError([Problem("first"), Problem("second", command="fix it")])
    assert [p.what for p in error.problems] == ["first", "second"]
    assert str(error) == "first\nsecond\n  try:     fix it"


def test_an_error_can_be_made_from_a_sentence_alone():
    assert errors.StageError("bad", allowed="good", command="try").problems == (Problem("bad", "good", "try"),)


@pytest.mark.parametrize(
    ("items", "limit", "text"),
    [
        ([], 2, ""),
        (["a", "b"], 2, "a, b"),
        (["a", "b", "c"], 2, "a, b … and 1 more"),
        (iter("ab"), 1, "a … and 1 more"),
    ],
)
def test_a_list_is_cut_and_says_how_much_is_missing(items, limit, text):
    assert errors.listed(items, limit) == text


@pytest.mark.parametrize(
    ("name", "text"), [("exprot", ", did you mean 'export'?"), ("export", ", did you mean 'export'?"), ("qqq", "")]
)
def test_a_near_match_is_offered_and_a_far_one_is_not(name, text):
    assert errors.nearest(name, ["simplify", "export"]) == text
