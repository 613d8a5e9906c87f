"""data/sources.py: photographs, in folders of their classes or in one."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from sample_rows import PAIR, PICTURE, PLAIN, VECTOR, identity, opened

from pipeline.errors import ConfigError, StageError
from stages.interface import images
from stages.interface.images import Preprocessing
from stages.interface.interface import Input, Interface


def photograph(path, shade):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((10, 10, 3), shade, np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("3", "10"), {3: 10, 10: 20}),
        (("bee", "ant"), {1: 10, 0: 20}),
        (("2", "b"), {0: 10, 1: 20}),
        (("1", "01"), {1: 10, 0: 20}),
    ],
    ids=["whole numbers", "names", "both", "the same number"],
)
def test_a_class_is_its_folders_number_or_the_place_of_its_name(tmp_path, names, labels):
    for name, shade in zip(names, (10, 20), strict=True):
        photograph(tmp_path / name / "a.png", shade)
    rows = opened({"source": "images", "path": str(tmp_path)}, PICTURE, how=PLAIN)
    assert {row.label: round(row.inputs["image"].max() * 255) for row in rows} == labels


def test_photographs_without_classes_have_no_labels(tmp_path):
    photograph(tmp_path / "a.png", 10)
    (tmp_path / "notes.txt").write_text("not a photograph")
    (row,) = opened({"source": "images", "path": str(tmp_path)}, PICTURE, how=PLAIN)
    assert row.label is None


def test_a_photograph_is_prepared_as_the_model_wants_it(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    how = Preprocessing(8, [0.1, 0.2, 0.3], [1.0, 2.0, 4.0], color="BGR")
    (row,) = opened({"source": "images", "path": str(tmp_path)}, PICTURE, how=how)
    np.testing.assert_array_equal(row.inputs["image"], images.prepared(pixels, 8, 8, how))


def classes(folder):
    for name, shade in (("cat/1.png", 10), ("cat/2.png", 20), ("dog/1.png", 30)):
        photograph(folder / name, shade)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda f: (f / "cat/1.png").rename(f / "cat/9.png"), True),
        (lambda f: (f / "dog").rename(f / "eel"), True),
        (lambda f: (f / "dog/notes.txt").write_text("not a photograph"), True),
        (lambda f: photograph(f / "cat/1.png", 11), False),
        (lambda f: photograph(f / "cat/3.png", 10), False),
        (lambda f: (f / "cat/1.png").unlink(), False),
        (lambda f: (f / "cat/1.png").rename(f / "dog/9.png"), False),
        (lambda f: (f / "dog").rename(f / "ant"), False),
    ],
    ids=["file name", "class name", "no photograph", "pixels", "one more", "one less", "label", "class numbers"],
)
def test_photographs_are_known_by_what_they_hold_and_their_labels(tmp_path, change, same):
    spec = {"source": "images", "path": str(tmp_path / "photos")}
    classes(tmp_path / "photos")
    before = identity(spec, tmp_path, how=PLAIN)
    change(tmp_path / "photos")
    assert (identity(spec, tmp_path, how=PLAIN) == before) is same


def test_the_name_of_their_folder_is_nothing_and_the_preprocessing_is_something(tmp_path):
    classes(tmp_path / "a")
    classes(tmp_path / "b")
    here, there = {"source": "images", "path": str(tmp_path / "a")}, {"source": "images", "path": str(tmp_path / "b")}
    assert identity(here, tmp_path, how=PLAIN) == identity(there, tmp_path, how=PLAIN)
    assert identity(here, tmp_path, how=PLAIN) != identity(here, tmp_path, how=Preprocessing(9, [0.0], [1.0]))


def test_photographs_come_in_an_order_that_their_names_do_not_decide(tmp_path):
    for i, name in enumerate("abcdef"):
        photograph(tmp_path / "one" / f"{name}.png", 10 * i)
        photograph(tmp_path / "other" / f"{'fedcba'[i]}.png", 10 * i)
    one, other = (opened({"source": "images", "path": str(tmp_path / n)}, PICTURE, how=PLAIN) for n in ("one", "other"))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.inputs["image"], b.inputs["image"])


def beside(folder):
    classes(folder)
    photograph(folder / "lost.jpg", 3)


def empty_class(folder):
    classes(folder)
    (folder / "eel").mkdir()
    (folder / "eel" / "eel.gif").write_bytes(b"")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda f: None, "there is no folder .*photos\n  try:     the path of an existing folder"),
        (lambda f: f.mkdir(), r"photos has no photographs\n  allowed: files that end in \.jpg, "),
        (
            beside,
            "1 photographs beside its folders cat, dog\n.*\n  try:     move lost.jpg into the folder of its class",
        ),
        (empty_class, r"photos has no photograph of class eel\n  allowed: files that end in \.jpg, "),
    ],
    ids=["missing", "empty", "mislabelled", "empty class"],
)
def test_a_folder_that_will_not_do_is_told_before_any_work(tmp_path, make, says):
    make(tmp_path / "photos")
    with pytest.raises(ConfigError, match=says):
        identity({"source": "images", "path": str(tmp_path / "photos")}, tmp_path, how=PLAIN)


def file_of(form):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jpg", file_of("JPEG")[:1000]),
        ("a.jpg", b"no photograph at all"),
        ("a.png", file_of("PNG")[:100_000] + b"\0" * 1000),
        ("a.ppm", b"P6\n10 1x\n255\n"),
    ],
    ids=["cut short", "text", "a broken chunk", "a broken header"],
)
def test_a_photograph_that_cannot_be_read_is_named_with_its_folder(tmp_path, name, content):
    photograph(tmp_path / "cat" / "good.png", 3)
    (tmp_path / "cat" / name).write_bytes(content)
    with pytest.raises(StageError, match=rf"cat/{name} cannot be read as an image: .*\n  try:"):
        opened({"source": "images", "path": str(tmp_path)}, PICTURE, how=PLAIN)


@pytest.mark.parametrize("interface", [VECTOR, PAIR, Interface({**PICTURE.inputs, **VECTOR.inputs}, VECTOR.dims)])
def test_images_stand_for_a_single_input_of_four_dimensions(tmp_path, interface):
    photograph(tmp_path / "a.png", 10)
    with pytest.raises(ConfigError, match=r"images are for one input of four.*\n  allowed: source: arrays"):
        opened({"source": "images", "path": str(tmp_path)}, interface, how=PLAIN)


def test_photographs_do_not_fit_a_model_of_one_channel(tmp_path):
    photograph(tmp_path / "a.png", 10)
    grey = Interface({"image": Input(["batch", 1, 8, 8])}, PICTURE.dims)
    with pytest.raises(StageError, match=r"a\.png: a sample of 'image' is 3x8x8\n  allowed: \[1, 8, 8\]"):
        opened({"source": "images", "path": str(tmp_path)}, grey, how=PLAIN)


def test_photographs_that_would_be_passed_over_are_refused(tmp_path):
    photograph(tmp_path / "cat" / "a.png", 10)
    photograph(tmp_path / "cat" / "more" / "b.png", 20)
    with pytest.raises(ConfigError, match="1 folders in those of its classes, such as more"):
        identity({"source": "images", "path": str(tmp_path)}, tmp_path, how=PLAIN)
