"""interface/images.py: what a model is shown of a photograph."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image
from torchvision.transforms._presets import ImageClassification

from pipeline.errors import StageError
from stages.interface import images
from stages.interface.images import Preprocessing

IMAGENET = Preprocessing(256, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
PHOTOGRAPHS = sorted(Path(sklearn.datasets.__file__).parent.glob("images/*.jpg"))


@pytest.mark.parametrize("path", PHOTOGRAPHS, ids=lambda p: p.stem)
@pytest.mark.parametrize("crop", [None, (0, 0, 301, 427), (7, 3, 420, 330), (0, 0, 100, 90)], ids=str)
def test_photographs_are_prepared_as_torchvisions_preset_prepares_them(path, crop):
    photograph = Image.open(path).crop(crop) if crop else Image.open(path)
    expected = ImageClassification(crop_size=224, resize_size=256)(photograph)
    prepared = images.prepared(np.asarray(photograph), 224, 224, IMAGENET)
    assert prepared.dtype == np.float32
    np.testing.assert_allclose(prepared, expected.numpy(), atol=1e-5)


def test_there_are_photographs():
    assert len(PHOTOGRAPHS) == 2


def some(height=40, width=60):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


PLAIN = Preprocessing([40, 60], [0.0], [1.0])


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (PLAIN, some().transpose(2, 0, 1) / 255),
        (replace(PLAIN, scale=1.0), some().transpose(2, 0, 1)),
        (replace(PLAIN, layout="NHWC"), some() / 255),
        (replace(PLAIN, color="BGR", layout="NHWC"), some()[..., ::-1] / 255),
        (
            replace(PLAIN, mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 4.0], layout="NHWC"),
            (some() / 255 - [0.1, 0.2, 0.3]) / [1, 2, 4],
        ),
    ],
)
def test_each_step_is_what_it_is_called(how, expected):
    np.testing.assert_allclose(images.prepared(some(), 40, 60, how), expected, atol=1e-6)


@pytest.mark.parametrize(("resize", "size"), [(80, (80, 120)), ([50, 70], (50, 70)), (20, (40, 60))])
def test_photographs_are_scaled_to_no_less_than_is_cut_out(resize, size):
    assert images.resized(40, 60, replace(PLAIN, resize=resize), (40, 60)) == size


def test_what_is_no_image_is_said_so(tmp_path):
    (tmp_path / "cat.jpg").write_text("a cat")
    with pytest.raises(StageError, match=r"cat\.jpg cannot be read as an image"):
        images.from_file(tmp_path / "cat.jpg")


def test_grey_of_16_bits_is_as_bright_as_of_8(tmp_path):
    grey = some()[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "grey16.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "grey16.tif")
    expected = images.from_file(tmp_path / "grey8.png")
    for name in ("grey16.png", "grey16.tif"):
        np.testing.assert_array_equal(images.from_file(tmp_path / name), expected)


@pytest.mark.parametrize(("dtype", "mode"), [("int32", "I"), ("float32", "F")])
def test_numbers_without_a_known_range_are_refused_by_name_and_mode(dtype, mode, tmp_path):
    Image.fromarray(some()[..., 0].astype(dtype)).save(tmp_path / "depth.tif")
    with pytest.raises(StageError, match=rf"depth\.tif is of Pillow's mode {mode}, and nothing says which"):
        images.from_file(tmp_path / "depth.tif")


def test_a_photograph_is_upright_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees
    Image.fromarray(some()).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(images.from_file(tmp_path / "turned.png"), np.rot90(some(), 3))


def test_drawn_photographs_are_of_several_sizes_and_the_same_for_a_seed():
    prepared = images.drawn(3)
    assert [p.shape for p in prepared] == [(240, 320, 3), (301, 199, 3), (97, 131, 3)]
    assert all((a == b).all() for a, b in zip(prepared, images.drawn(3), strict=True))
    assert (prepared[0] != images.drawn(4)[0]).any()


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"resize": 0}, "resize is 0"),
        ({"resize": [224]}, r"resize is \[224\]"),
        ({"color": "rgb"}, "color is rgb"),
        ({"layout": "CHW"}, "layout is CHW"),
        ({"interpolation": "nearest"}, "interpolation is nearest"),
        ({"mean": [0.5, 0.5]}, r"mean is \[0.5, 0.5\]"),
        ({"std": [0.0]}, "divides by 0"),
    ],
)
def test_a_wrong_setting_is_a_problem(wrong, what):
    (problem,) = replace(IMAGENET, **wrong).problems()
    assert re.search(what, problem.what)
