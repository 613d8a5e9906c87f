"""Keys: one text per value, sensitive to every declared part and to nothing else."""

from pathlib import Path
from types import MappingProxyType

import pytest

from pipeline.store import key

DOCUMENT = {
    "stage": "export",
    "contract": 1,
    "code": {"distribution": "acme", "version": "1.0"},
    "settings": {"opset": 18, "names": ["a", "b"]},
    "inputs": {"module": "aa"},
    "libraries": {"onnx": "1.21"},
}
CHANGES = {
    "stage": "other",
    "contract": 2,
    "code": {"distribution": "acme", "version": "1.1"},
    "settings": {"opset": 18, "names": ["b", "a"]},
    "inputs": {"module": "ab"},
    "libraries": {"onnx": "1.22"},
}


def test_the_order_of_a_mapping_does_not_matter():
    assert key.canonical({"b": 1, "a": [True, None]}) == key.canonical({"a": (True, None), "b": 1})
    assert key.canonical({"b": 1, "a": [True, None]}) == '{"a":[true,null],"b":1}'


def test_text_beyond_ascii_stands_for_itself():
    assert key.canonical("größe") == '"größe"'


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (float("nan"), "value"),
        ({"a": [1.0, float("inf")]}, r"a\[1\]"),
        ({"a": {"b": -float("inf")}}, r"a\.b"),
        ({1: "x"}, "key 1 is int"),
        ({"a": {True: "x"}}, "a: key True is bool"),
        ({"a": {1, 2}}, "a: set"),
        ([b"x"], r"\[0\]: bytes"),
        ({"path": Path("x")}, "path: "),
        (MappingProxyType({"a": object()}), "a: object"),
    ],
)
def test_what_has_no_one_json_form_is_refused_with_its_place(value, place):
    with pytest.raises(TypeError, match=place):
        key.canonical(value)


def test_a_digest_is_stable_over_time():
    # Written down, not computed: a change here makes every store in the world miss, so it must be meant.
    assert key.digest(key.document(**DOCUMENT)) == "f3e3d04fb4e0216e0d7334287103cb1d964e5d4d264181d175dbccfa4cb774ce"


@pytest.mark.parametrize("part", CHANGES)
def test_a_key_changes_with_each_declared_part(part):
    changed = key.document(**{**DOCUMENT, part: CHANGES[part]})
    assert key.digest(changed) != key.digest(key.document(**DOCUMENT))


def test_a_key_holds_the_declared_parts_and_nothing_else():
    assert set(key.document(**DOCUMENT)) == {"schema", *CHANGES} == {"schema", *DOCUMENT}


@pytest.mark.parametrize(
    ("before", "after"),
    [(1, True), (1, 1.0), (0, False), ("1", 1), ("a", ["a"]), ({}, []), (None, "None"), (0.1, 0.1000000000000001)],
)
def test_values_that_differ_have_different_texts(before, after):
    assert key.canonical(before) != key.canonical(after)


@pytest.mark.parametrize(
    ("part", "phrase"),
    [
        ("stage", "stage: export → other"),
        ("contract", "contract: 1 → 2"),
        ("code", "code.version: 1.0 → 1.1"),
        ("settings", 'settings.names: ["a","b"] → ["b","a"]'),
        ("inputs", "another module"),
        ("libraries", "libraries.onnx: 1.21 → 1.22"),
    ],
)
def test_a_difference_is_told_in_one_phrase(part, phrase):
    assert key.differences(DOCUMENT, {**DOCUMENT, part: CHANGES[part]}) == [phrase]


def test_what_came_and_what_went_are_told_apart():
    before, after = {"settings": {"old": 1, "same": 2}}, {"settings": {"new": 1, "same": 2}}
    assert key.differences(before, after) == ["settings.new: absent → 1", "settings.old: 1 → absent"]


def test_a_long_value_is_cut():
    (phrase,) = key.differences({"a": "x" * 25}, {"a": "y" * 24})
    assert phrase == f"a: {'x' * 12}… → {'y' * 24}"


def test_equal_documents_have_no_difference():
    assert key.differences(DOCUMENT, dict(DOCUMENT)) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"opset": 1}, {"opset": True}),
        ({"scale": 1}, {"scale": 1.0}),
        ({"opset": 1}, {"opset": 1, "dtype": None}),
        ({"opset": 1, "kwargs": {}}, {"opset": 1}),
        ({"size": [1, 2]}, {"size": [1, 2.0]}),
    ],
)
def test_documents_with_different_keys_never_look_the_same(before, after):
    assert key.digest(before) != key.digest(after)
    assert key.differences(before, after) != []
