"""Ranges and choices: which values they contain, and the messages for others."""

import pytest

from pipeline.errors import Problem
from pipeline.stage import Above, AtLeast, Between, Each, FilePath, Matches, OneOf, SomeOf

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("kind", "fitting", "others", "allowed"),
    [
        (Between(0, 5), [0, 2.5, 5], [-1, 5.1, NAN], "0 to 5"),
        (Between(0, 1, "a share from 0 to 1"), [0, 1], [2], "a share from 0 to 1"),
        (AtLeast(2), [2, 10**12], [1, NAN, INFINITE], "2 or more"),
        (Above(0), [1e-9], [0, -1, NAN, INFINITE], "a number above 0"),
        (OneOf(("a", "b")), ["a", "b"], ["c", ""], "a, b"),
        (OneOf((0, 1), "0, 1 or null"), [0, 1], [2], "0, 1 or null"),
        (SomeOf(("a", "b")), [[], ["b", "a"]], [["c"]], "a, b"),
        (SomeOf(("a", "b"), "some of a, b", least=1), [["a"]], [[], ["a", "c"]], "some of a, b"),
        (Matches("[0-9a-f]+", "hex digits"), ["ff"], ["fx", "x", "f\n"], "hex digits"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_in_range_is_no_problem_and_the_rest_is_one_with_what_is_allowed(kind, fitting, others, allowed):
    assert [p for value in fitting for p in kind.problems("x", value)] == []
    assert [[p.allowed for p in kind.problems("x", value)] for value in others] == [[allowed]] * len(others)


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        (AtLeast(0, command="seed=0"), -1, Problem("x is -1", "0 or more", "seed=0")),
        (OneOf(("kmeans", "uniform")), "kmean", Problem("x is kmean, did you mean 'kmeans'?", "kmeans, uniform")),
        (OneOf(("float32",), near=False), "bfloat32", Problem("x is bfloat32", "float32")),
        (SomeOf(("eager",)), ["eagre"], Problem("x has eagre, did you mean 'eager'?", "eager")),
        (SomeOf(("10", "11"), least=1), ["9"], Problem("x is ['9']", "10, 11")),
        (Matches(".+", "a path", "x=PATH"), "", Problem("x is empty", "a path", "x=PATH")),
        (Each(Between(0, 1)), {"a": 1, "b": 2}, Problem("x.b is 2", "0 to 1")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_problem_has_the_place_the_value_and_what_is_near(kind, value, problem):
    assert list(kind.problems("x", value)) == [problem]


def test_a_word_in_the_place_of_a_path_names_no_file():
    kind = FilePath(("random",))
    assert (kind.files("random"), kind.files("net.pth")) == ([], ["net.pth"])
