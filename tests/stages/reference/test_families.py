"""reference/families.py: values by the role of an input, each family once, and how far each is from the draws."""

import numpy as np
import pytest

from stages.interface.interface import Dim, Input, Interface
from stages.reference import families

DIMS = {"batch": Dim(1, 2, 8), "t": Dim(1, 8, 32)}
FLOATS = Input(["batch", "t", 2], fill="normal")
IDS = Input(["batch", "t"], "int64", {"integers": [5, 100]})
MASK = Input(["batch", "t"], "int64", "mask")


def families_of(effort="standard", seed=0, **inputs):
    interface = Interface(inputs, DIMS)
    return {name: (level, values) for name, level, _, values in families.labelled(interface, seed, None, effort)}


def test_whole_numbers_are_asked_at_both_ends_and_in_a_run():
    by_family = {name: values["ids"] for name, (_, values) in families_of(ids=IDS).items()}
    assert set(by_family["lowest"].ravel()) == {5}
    assert set(by_family["highest"].ravel()) == {99}
    assert set(by_family["ends"].ravel()) == {5, 99}
    assert len(set(by_family["masked row"].ravel())) == 16
    assert all(v.dtype == np.int64 and 5 <= v.min() <= v.max() < 100 for v in by_family.values())


def test_masks_have_a_row_off_holes_padding_on_the_left_and_the_first_token_alone():
    by_family = {name: values["mask"] for name, (_, values) in families_of(mask=MASK, ids=IDS).items()}
    assert by_family["masked row"].any(1).tolist() == [True, False, True, True]
    assert by_family["lowest"].tolist() == [[1, 0, 0, 0]] * 4
    assert by_family["highest"][0].tolist() == [1, 0, 1, 0]
    assert by_family["ends"][0].tolist() == [0, 0, 1, 1]
    assert by_family["huge"].all()
    alone = families_of(mask=Input([1, "t"], "int64", "mask"))["masked row"][1]["mask"]
    assert alone.tolist() == [[0, 0, 0, 0]]


def test_floating_point_numbers_are_zero_alike_tiny_large_negative_and_tied():
    by_family = {name: values["x"] for name, (_, values) in families_of(x=FLOATS).items()}
    assert not by_family["zeros"].any()
    assert len(set(by_family["ones"].ravel())) == 1
    assert (by_family["negative"] <= 0).all()
    assert (
        0
        < abs(by_family["tiny"]).max()
        < 1e-6
        < 1e2
        < abs(by_family["large"]).max()
        < 1e4
        < abs(by_family["huge"]).max()
    )
    assert len(set(by_family["ties"].ravel())) < by_family["ties"].size / 2
    assert 5 < abs(by_family["wide"]).max() < 20
    assert by_family["rows of zeros"].any(2).tolist() == [[True, True, False, False]] * 4


def test_one_number_of_each_row_lies_far_out_where_rows_are_longest():
    ((_, level, sizes, values),) = [
        f for f in families.labelled(Interface({"x": FLOATS}, DIMS), 0, None, "standard") if f[0] == "outliers"
    ]
    assert (level, sizes) == ("extremes", {"batch": 1, "t": 32})
    assert (values["x"] == 100).sum() == 1
    assert sorted(abs(values["x"]).ravel())[-2] < 6


@pytest.mark.parametrize(
    ("inputs", "levels"),
    [
        ({"x": FLOATS}, {"draw 2": "draws", "negative": "values", "zeros": "extremes", "huge": "extremes"}),
        ({"ids": IDS, "mask": MASK}, {"draw 2": "draws", "lowest": "values", "zeros": None, "tiny": "values"}),
        ({"ids": IDS}, {"outliers": None, "wide": None, "lowest": "values"}),
        ({"x": FLOATS, "ids": IDS}, {"lowest": "values", "zeros": "extremes"}),
        ({"x": Input(["batch"], fill="zeros")}, {"draw 2": None, "zeros": None}),
    ],
    ids=["floats", "text", "ids alone", "both", "set by the YAML"],
)
def test_a_level_says_how_far_a_family_is_from_the_draws(inputs, levels):
    by_family = families_of(**inputs)
    assert {name: by_family[name][0] if name in by_family else None for name in levels} == levels


def test_no_family_asks_what_another_did():
    contents = [b"".join(v.tobytes() for v in values.values()) for _, values in families_of(x=FLOATS, ids=IDS).values()]
    assert len(set(contents)) == len(contents)


def test_quick_asks_none_and_thorough_more():
    assert families_of("quick", x=FLOATS) == {}
    assert set(families_of("thorough", x=FLOATS)) > set(families_of(x=FLOATS))


def test_the_same_is_asked_every_time_and_another_seed_asks_something_else():
    def contents(**how):
        return {n: v["x"].tobytes() for n, (_, v) in families_of(x=FLOATS, **how).items()}

    assert contents() == contents()
    assert contents()["large"] != contents(seed=1)["large"]


def test_large_inputs_are_asked_at_their_smallest():
    assert families.small(Interface({"x": Input(["batch", 3, 64, 64])}, {"batch": Dim(1, 2, 8)})) == {"batch": 1}
    assert families.small(Interface({"x": FLOATS}, DIMS)) == {"batch": 4, "t": 4}
