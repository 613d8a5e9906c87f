"""reference/sizes.py: which sizes are asked at, from the dimensions alone."""

import pytest

from stages.interface.interface import Dim
from stages.reference import sizes

H, W, BATCH = Dim(8, 16, 32), Dim(8, 16, 32), Dim(1, 2, 8)


def test_quick_asks_at_four_sizes():
    assert list(sizes.labelled({"h": H, "w": W}, "quick")) == ["example", "min", "odd", "max"]


def test_no_size_is_asked_twice():
    for effort in sizes.EFFORTS:
        for dims in ({}, {"batch": BATCH}, {"h": H, "w": W}, {"a": Dim(1, 2, 3), "b": Dim(32, 64, 96, 32), "c": BATCH}):
            all_sizes = [*sizes.labelled(dims, effort).values()]
            assert all(one not in all_sizes[:place] for place, one in enumerate(all_sizes))
            assert all(n in dims[name].sizes for case in all_sizes for name, n in case.items())


@pytest.mark.parametrize("dims", [{"h": H, "w": W}, {"long": Dim(16, 20, 40), "short": Dim(1, 4, 24)}])
def test_of_two_dimensions_either_is_the_larger_and_they_are_equal(dims):
    one, other = dims
    all_sizes = sizes.labelled(dims, "standard").values()
    assert {(c[one] > c[other]) - (c[one] < c[other]) for c in all_sizes} == {-1, 0, 1}


def test_each_dimension_is_at_its_largest_and_one_short_of_it_alone():
    all_sizes = sizes.labelled({"batch": BATCH, "t": Dim(1, 8, 32)}, "standard").values()
    for case in ({"batch": 1, "t": 32}, {"batch": 8, "t": 1}, {"batch": 1, "t": 31}, {"batch": 7, "t": 1}):
        assert case in all_sizes


def test_odd_sizes_stay_apart_after_a_stride_of_four():
    apart = sizes.labelled({"h": H, "w": W}, "standard")["odd, apart"]
    assert (apart["h"] + 3) // 4 > (apart["w"] + 3) // 4
    assert all(n % 2 for n in apart.values())


def test_thorough_asks_in_between_and_at_every_corner():
    dims = {"h": H, "w": W}
    more = [s for s in sizes.labelled(dims, "thorough").values() if s not in sizes.labelled(dims, "standard").values()]
    assert {"h": 20, "w": 20} in more
    corners = sizes.labelled({"a": BATCH, "b": BATCH, "c": BATCH}, "thorough").values()
    assert {"a": 8, "b": 8, "c": 1} in corners


def test_rows_that_can_differ_where_there_are_any():
    assert sizes.few({"batch": BATCH, "t": Dim(1, 2, 3), "h": Dim(32, 64, 96, 32)}, 4) == {"batch": 4, "t": 3, "h": 32}
