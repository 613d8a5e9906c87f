"""data/sources.py: where samples come from, what identifies them, and what is said of those that are of no use."""

from __future__ import annotations

import numpy as np
import pytest
from sample_rows import LENGTHS, PLAIN, opened

from stages.data import spec as data_spec
from stages.interface.interface import Input, Interface
from stages.samples.draw_samples import DrawSamples
from stages.samples.record_answers import RecordAnswers


@pytest.mark.parametrize(
    ("spec", "what", "allowed"),
    [
        (None, "samples is None", "{source: images, path: FOLDER}"),
        (3, "samples is 3", "{source: images, path: FOLDER}"),
        ({}, "samples.source is not set", "images, arrays, text, dataset, random"),
        ({"source": "rnadom"}, "samples.source is rnadom, did you mean 'random'?", "dataset, random"),
        ({"source": "imags"}, "did you mean 'images'?", "images, arrays"),
        (
            {"source": "images", "paht": "y"},
            "samples has paht, did you mean 'path'?",
            "source, path, tokenizer, kwargs",
        ),
        ({"source": "images", "path": ["x"]}, "samples.path is ['x']", "the path of what is there"),
        ({"source": "dataset"}, "samples.path is None", "my_pkg.data.Train"),
        ({"source": "arrays", "path": ""}, "samples.path is ", "the path of what is there"),
        ({"source": "arrays", "path": "x.npy"}, "samples.path is x.npy", "a .npz file"),
        ({"source": "text", "path": "x.txt"}, "samples.tokenizer is None", "save_pretrained"),
        ({"source": "text", "path": "x.txt", "tokenizer": 3}, "samples.tokenizer is 3", "save_pretrained"),
        ({"source": "dataset", "path": "a.B", "kwargs": ["train"]}, "samples.kwargs is ['train']", "{split: train}"),
    ],
)
def test_each_problem_has_its_place_and_what_is_allowed(spec, what, allowed):
    (problem,) = DrawSamples(spec, 1, PLAIN, 0).problems()
    assert what in problem.what
    assert allowed in problem.allowed


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("photos/", {"source": "images", "path": "photos/"}),
        ("../my.photos/val", {"source": "images", "path": "../my.photos/val"}),
        ("real.npz", {"source": "arrays", "path": "real.npz"}),
        ("my_pkg.data.Val", {"source": "dataset", "path": "my_pkg.data.Val"}),
    ],
)
def test_a_text_stands_for_a_source(text, spec):
    assert data_spec.spelled(text) == spec


@pytest.mark.parametrize(
    "spec",
    [
        {"source": "random"},
        {"source": "random", "path": "of another", "kwargs": {"split": "train"}},
        {"source": "images", "path": "x"},
        {"source": "arrays", "path": "x.npz"},
        {"source": "text", "path": "x", "tokenizer": "y"},
        {"source": "dataset", "path": "a.B", "kwargs": None},
        {"source": "dataset", "path": "a.B", "kwargs": {"split": "train"}},
    ],
    ids=str,
)
def test_a_source_that_is_well_said_has_no_problem(spec):
    assert DrawSamples(spec, 1, PLAIN, 0).problems() == []


def test_images_need_the_models_preprocessing():
    (problem,) = DrawSamples({"source": "images", "path": "x"}, 1, None, 0).problems()
    assert problem.command.startswith("'model.preprocessing={resize:")


def test_random_draws_have_no_labels_and_are_not_offered_where_these_are_wanted():
    (problem,) = RecordAnswers({"source": "random"}, 1, None, 0).problems()
    assert "random draws have no labels" in problem.what
    assert "random" not in problem.allowed
    assert problem.command == "model.evaluation.source=images model.evaluation.path=FOLDER"


def test_random_rows_follow_the_inputs_fills():
    inputs = {
        "ids": Input(["batch", "length"], "int64", {"integers": [5, 9]}),
        "mask": Input(["batch", "length"], "int64", "mask"),
        "scale": Input(["batch"], "float32", "ones"),
    }
    rows = opened({"source": "random"}, Interface(inputs, LENGTHS))
    assert len(rows) == 32
    assert {v for r in rows for v in r.inputs["ids"].tolist()} == {5, 6, 7, 8}
    assert {int(r.inputs["mask"].sum()) for r in rows} >= {2, 4}
    assert all(r.inputs["scale"].shape == () and r.label is None for r in rows)


def test_another_seed_is_other_random_rows_and_each_is_another():
    drawn = {r.inputs["x"].tobytes() for seed in (0, 1) for r in opened({"source": "random"}, seed=seed)}
    assert len(drawn) == 64
    np.testing.assert_array_equal(
        opened({"source": "random"})[3].inputs["x"], opened({"source": "random"})[3].inputs["x"]
    )


@pytest.mark.parametrize(
    ("spec", "libraries"),
    [
        ({"source": "random"}, ()),
        (None, ()),
        ({"source": "images", "path": "x"}, ("PIL",)),
        ({"source": "arrays", "path": "x.npz"}, ()),
        ({"source": "text", "path": "x", "tokenizer": "y"}, ("transformers",)),
        ({"source": "dataset", "path": "a.B"}, ("torch",)),
    ],
    ids=str,
)
def test_a_source_says_which_libraries_it_takes(spec, libraries):
    assert DrawSamples(spec, 1, PLAIN, 0).libraries() == {*libraries}
