"""interface/interface.py: what a model's YAML may say of its inputs, and what travels on."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from stages.interface import interface as model_interface
from stages.interface.interface import Dim, Input, Interface, Output
from stages.onnx.format import ONNX
from stages.reference.record_reference import RecordReference

BATCH = Dim(1, 2, 8)
PAST, SEQUENCE = Dim(0, 5, 16), Dim(1, 4, 16)
CACHE = Input(["past", 8], fill={"cache": "present"})


def problems(inputs, dims):
    return RecordReference(inputs, dims, None, None, None, False, None, [], 0, "quick", None, 16).problems()


def test_a_sound_interface_has_no_problems():
    inputs = {"image": Input(["batch", 3, "side", "side"]), "mask": Input(["batch"], dtype="bool", fill="ones")}
    assert problems(inputs, {"batch": BATCH, "side": Dim(32, 64, 96, 32)}) == []


@pytest.mark.parametrize(
    ("inputs", "dims", "place"),
    [
        ({}, {}, "inputs is empty"),
        ({"x": Input(["bach"])}, {"batch": BATCH}, "names 'bach', which is no dimension of dims, did you mean"),
        ({"x": Input([2])}, {"batch": BATCH}, "dims.batch is in no input's shape"),
        ({"x": Input([0])}, {}, "inputs.x.shape holds 0"),
        ({"x": Input([-1])}, {}, "inputs.x.shape holds -1"),
        ({"x": Input([True])}, {}, "inputs.x.shape holds True"),
        ({"x": Input([2.5])}, {}, "inputs.x.shape holds 2.5"),
        ({"x": Input([2], dtype="float23")}, {}, "inputs.x.dtype is float23, did you mean 'float32'?"),
        ({"x": Input(["side"])}, {"side": Dim(32, 50, 96, 32)}, "of multiple 32"),
        ({"x": Input(["batch size"])}, {"batch size": BATCH}, "dims names 'batch size'"),
        (
            {"x": Input(["past+sequense"])},
            {"past": BATCH, "sequence": BATCH},
            "'sequense', which is no dimension of dims, did you",
        ),
        ({"x": Input(["past + batch"])}, {"batch": BATCH, "past": BATCH}, "names 'past ', which is no dimension"),
        ({"x": Input(["batch"])}, {"batch": Dim(0, 2, 8)}, "dims.batch.min is 0, and no cache follows it"),
        (
            {"x": Input(["batch"]), "c": Input(["batch"], fill={"cache": "y"})},
            {"batch": Dim(0, 2, 8)},
            "batch.min is 0, and no",
        ),
        ({"a.b": Input([2]), "a_b": Input([2])}, {}, "inputs names 'a.b', which in Python is a_b as another"),
    ],
)
def test_each_problem_names_its_place(inputs, dims, place):
    wrong = [p.what for p in problems(inputs, dims)]
    assert any(place in what for what in wrong), wrong


@pytest.mark.parametrize(
    "dim",
    [Dim(-1, 2, 8), Dim(3, 2, 8), Dim(1, 9, 8), Dim(1, 1, 1), Dim(4, 4, 4)],
    ids=lambda d: f"{d.min}-{d.opt}-{d.max}",
)
def test_bounds_that_no_exporter_could_use_are_refused(dim):
    wrong = problems({"x": Input(["batch", 3])}, {"batch": dim})
    assert [p.what for p in wrong] == [f"dims.batch is min {dim.min}, opt {dim.opt}, max {dim.max}"]


def test_every_problem_is_told_at_once():
    assert len(problems({"x": Input(["n", 0], dtype="f", fill="ones")}, {"batch": BATCH})) == 4


def test_a_sum_is_a_size_and_a_cache_may_be_empty():
    inputs = {"mask": Input(["past+sequence"]), "past.0": CACHE}
    dims = {"past": PAST, "sequence": SEQUENCE}
    assert problems(inputs, dims) == []
    assert inputs["mask"].at({"past": 2, "sequence": 3}) == [5]
    assert inputs["mask"].names == ["past", "sequence"]
    assert model_interface.range_of("past+sequence", dims) == Dim(1, 9, 32)
    assert Interface(inputs, dims).sized({"past": 2, "sequence": 3})["past+sequence"] == 5


def test_a_size_without_inputs_to_follow_begins_at_one():
    stage = RecordReference(None, {"batch": Dim(0, 2, 8)}, None, None, None, False, None, [], 0, "quick", None, 16)
    assert [p.what for p in stage.problems()] == [
        "dims.batch.min is 0, and inputs is null: nothing says that it may be empty"
    ]


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("past.0.key", True), ("x", True), ("0.x", False), ("x.", False), ("x y", False), ("x.für", False), ("", False)],
)
def test_names_may_have_dots(name, is_one):
    assert model_interface.is_dotted(name) is is_one


@pytest.mark.parametrize("dim", [Dim(1, 1, 2), Dim(1, 2, 8), Dim(1, 1, 64), Dim(3, 5, 9), Dim(32, 32, 96, 32)])
def test_the_example_size_is_within_bounds_and_never_one(dim):
    assert dim.example >= 2
    assert dim.example in dim.sizes


@pytest.mark.parametrize(
    ("dim", "sizes"),
    [
        (Dim(1, 2, 8), {"example": 2, "min": 1, "odd": 3, "max": 8}),
        (Dim(1, 3, 8), {"example": 3, "min": 1, "odd": 5, "max": 8}),
        (Dim(1, 1, 2), {"example": 2, "min": 1}),
        (Dim(2, 2, 3), {"example": 2, "odd": 3}),
        (Dim(4, 4, 6), {"example": 4, "odd": 5, "max": 6}),
        (Dim(32, 64, 256, 32), {"example": 64, "min": 32, "odd": 96, "max": 256}),
    ],
    ids=lambda v: f"{v.min}-{v.opt}-{v.max}" if isinstance(v, Dim) else "",
)
def test_cases_cover_the_bounds_and_an_odd_size_without_repeats(dim, sizes):
    assert model_interface.cases({"batch": dim}) == {label: {"batch": n} for label, n in sizes.items()}


def test_a_model_without_dynamic_dimensions_has_one_case():
    assert model_interface.cases({}) == {"example": {}}


def test_every_dimension_differs_from_the_example_in_some_case():
    dims = {"batch": Dim(1, 2, 8), "seq": Dim(2, 16, 16)}
    cases = model_interface.cases(dims)
    assert all(any(c[name] != cases["example"][name] for c in cases.values()) for name in dims)


@pytest.mark.parametrize("dim", [Dim(2, 4, 16), Dim(1, 2, 3), Dim(32, 64, 96, 32), Dim(1, 1, 2)])
def test_dimensions_of_one_range_differ_in_the_odd_case(dim):
    sizes = model_interface.cases({"height": dim, "width": dim})["odd"]
    assert sizes["height"] != sizes["width"]
    assert {*sizes.values()} <= {*dim.sizes}


SIZES = {"example": {"h": 4, "w": 4}, "odd": {"h": 3, "w": 5}}


@pytest.mark.parametrize(
    ("example", "odd", "follows"),
    [
        ((4, 4), (3, 5), ["h", "w"]),
        ((4, 4), (5, 3), ["w", "h"]),
        ((7, 4), (7, 3), [7, "h"]),
        ((16, 2), (15, 2), [None, 2]),
    ],
)
def test_an_outputs_dimensions_are_named_by_what_they_follow(example, odd, follows):
    assert model_interface.output_shape({"example": example, "odd": odd}, SIZES) == follows


def test_an_output_may_follow_a_sum():
    sizes = {"example": {"p": 4, "s": 3, "p+s": 7}, "min": {"p": 0, "s": 1, "p+s": 1}}
    assert model_interface.output_shape({"example": (7, 3), "min": (1, 1)}, sizes) == ["p+s", "s"]


def test_an_output_whose_rank_depends_on_sizes_is_refused():
    with pytest.raises(StageError, match="an output has 1, 2 dimensions"):
        model_interface.output_shape({"example": (4,), "odd": (3, 1)}, SIZES)


def test_an_interface_survives_its_way_through_sorted_json():
    interface = Interface(
        {"z": Input(["batch", 3]), "a": Input(["batch"], "int64")},
        {"batch": BATCH},
        {"y": Output(["out", 0], ["batch"], "float32"), "b": Output([], [None], "bool")},
        {"args": [{"z": "z", "a": "a"}]},
    )
    facts = json.loads(json.dumps(interface.facts, sort_keys=True))
    read = Interface.read(Artifact(ONNX, facts=facts))
    assert read == interface
    assert (list(read.inputs), list(read.outputs)) == (["z", "a"], ["y", "b"])
    assert list(read.call["args"][0]) == ["z", "a"]


def test_an_artifact_without_an_interface_says_what_is_missing():
    with pytest.raises(StageError, match="this onnx came without its interface"):
        Interface.read(Artifact(ONNX))


def test_many_shapes_that_are_alike_are_counted():
    shapes = [(2, 7), (2, 7), *[(2, 2, 5, 16)] * 48, ()]
    text = model_interface.says_all({str(n): np.zeros(shape) for n, shape in enumerate(shapes)})
    assert text == "2x7, 2x7, 48 of 2x2x5x16, scalar"


def test_shapes_read_as_people_write_them():
    assert model_interface.says(Input(["batch", 3, 32, 32]).at({"batch": 8})) == "8x3x32x32"
