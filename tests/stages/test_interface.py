"""stages/_interface.py: what a model's YAML may say of its inputs, and what examples are drawn from it."""

from __future__ import annotations

import numpy as np
import pytest

from stages import _interface
from stages._interface import DTYPES, FILLS, Dim, Input

BATCH = Dim(1, 2, 8)


def test_a_sound_interface_has_no_problems():
    inputs = {"image": Input(["batch", 3, "side", "side"]), "mask": Input(["batch"], dtype="bool", fill="ones")}
    assert _interface.problems(inputs, {"batch": BATCH, "side": Dim(32, 64, 96)}, ["logits"]) == []


@pytest.mark.parametrize(
    ("inputs", "dims", "outputs", "place"),
    [
        ({}, {}, ["y"], "inputs is empty"),
        ({"x": Input([2])}, {}, [], "outputs is empty"),
        ({"x": Input([2])}, {}, ["x"], "both name 'x'"),
        ({"x": Input(["bach"])}, {"batch": BATCH}, ["y"], "names 'bach', which is no dimension of dims, did you mean"),
        ({"x": Input([2])}, {"batch": BATCH}, ["y"], "dims.batch is in no input's shape"),
        ({"x": Input([0])}, {}, ["y"], "inputs.x.shape holds 0"),
        ({"x": Input([-1])}, {}, ["y"], "inputs.x.shape holds -1"),
        ({"x": Input([True])}, {}, ["y"], "inputs.x.shape holds True"),
        ({"x": Input([2.5])}, {}, ["y"], "inputs.x.shape holds 2.5"),
        ({"x": Input([2], dtype="float23")}, {}, ["y"], "inputs.x.dtype is float23, did you mean 'float32'?"),
        ({"x": Input([2], fill="uniforn")}, {}, ["y"], "inputs.x.fill is uniforn, did you mean 'uniform'?"),
    ],
)
def test_each_problem_names_its_place(inputs, dims, outputs, place):
    found = [p.what for p in _interface.problems(inputs, dims, outputs)]
    assert any(place in what for what in found), found


@pytest.mark.parametrize(
    "dim",
    [Dim(0, 2, 8), Dim(3, 2, 8), Dim(1, 9, 8), Dim(1, 1, 1), Dim(4, 4, 4)],
    ids=lambda d: f"{d.min}-{d.opt}-{d.max}",
)
def test_bounds_that_no_exporter_could_use_are_refused(dim):
    found = _interface.problems({"x": Input(["batch", 3])}, {"batch": dim}, ["y"])
    assert [p.what for p in found] == [f"dims.batch is min {dim.min}, opt {dim.opt}, max {dim.max}"]


def test_a_name_that_torch_export_cannot_take_is_refused():
    assert _interface.problems({"x": Input(["batch size"])}, {"batch size": BATCH}, ["y"]) != []


def test_every_problem_is_told_at_once():
    found = _interface.problems({"x": Input(["n", 0], dtype="f", fill="g")}, {"batch": BATCH}, [])
    assert len(found) == 6


@pytest.mark.parametrize("dim", [Dim(1, 1, 2), Dim(1, 2, 8), Dim(1, 1, 64), Dim(3, 5, 9)])
def test_the_example_size_is_within_bounds_and_never_one(dim):
    assert dim.example >= 2
    assert dim.min <= dim.example <= dim.max


@pytest.mark.parametrize(
    ("dim", "sizes"),
    [
        (Dim(1, 2, 8), {"example": 2, "min": 1, "odd": 3, "max": 8}),
        (Dim(1, 3, 8), {"example": 3, "min": 1, "odd": 5, "max": 8}),
        (Dim(1, 1, 2), {"example": 2, "min": 1}),
        (Dim(2, 2, 3), {"example": 2, "odd": 3}),
        (Dim(4, 4, 6), {"example": 4, "odd": 5, "max": 6}),
    ],
    ids=lambda v: f"{v.min}-{v.opt}-{v.max}" if isinstance(v, Dim) else "",
)
def test_cases_cover_the_bounds_and_an_odd_size_without_repeats(dim, sizes):
    assert _interface.cases({"batch": dim}) == {label: {"batch": n} for label, n in sizes.items()}


def test_a_model_without_dynamic_dimensions_has_one_case():
    assert _interface.cases({}) == {"example": {}}


def test_every_dimension_differs_from_the_example_in_some_case():
    dims = {"batch": Dim(1, 2, 8), "seq": Dim(2, 16, 16)}
    cases = _interface.cases(dims)
    assert all(any(c[name] != cases["example"][name] for c in cases.values()) for name in dims)


def test_the_same_seed_draws_the_same_values_and_another_does_not():
    inputs, sizes = {"x": Input(["batch", 3])}, {"batch": 2}
    first, again, other = (_interface.draw(inputs, sizes, seed)["x"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_another_input_changes_no_values_of_the_first():
    alone = _interface.draw({"x": Input([4])}, {}, 0)["x"]
    beside = _interface.draw({"w": Input([4]), "x": Input([4])}, {}, 0)
    np.testing.assert_array_equal(beside["x"], alone)
    assert (beside["w"] != beside["x"]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fill", FILLS)
def test_values_have_the_shape_and_type_that_were_asked_for(dtype, fill):
    drawn = _interface.draw({"x": Input(["batch", 5], dtype=dtype, fill=fill)}, {"batch": 3}, 0)["x"]
    assert (drawn.shape, drawn.dtype) == ((3, 5), np.dtype(dtype))


@pytest.mark.parametrize(
    ("fill", "low", "high"), [("uniform", 0.0, 1.0), ("normal", -6.0, 6.0), ("ones", 1.0, 1.0), ("zeros", 0.0, 0.0)]
)
def test_values_lie_where_their_fill_says(fill, low, high):
    drawn = _interface.draw({"x": Input([1000], fill=fill)}, {}, 0)["x"]
    assert low <= drawn.min() <= drawn.max() <= high
    assert (drawn.std() > 0.2) == (fill in ("uniform", "normal"))  # 0.29 for uniform, 1 for normal
    assert (drawn.min() < 0) == (fill == "normal")


def test_shapes_read_as_people_write_them():
    assert _interface.says(Input(["batch", 3, 32, 32]).at({"batch": 8})) == "8x3x32x32"
