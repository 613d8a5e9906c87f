"""interface/fills.py: what examples are drawn from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.errors import StageError
from stages.interface import fills
from stages.interface.fills import Preprocessing
from stages.interface.interface import DTYPES, Input

PLAIN = Preprocessing(8, [0.5, 0.5, 0.5], [0.5, 0.5, 0.5])


def draw(spec, sizes=None, seed=0, preprocessing=None):
    return fills.draw({"x": spec}, sizes or {}, seed, preprocessing)["x"]


def tokens(shape, seed):
    return torch.full(shape, seed)


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        (Input([2], fill="uniforn"), "inputs.x.fill is uniforn, did you mean 'uniform'?"),
        (Input([2], fill={"integer": [0, 2]}), "did you mean 'integers'?"),
        (Input([2], fill={"integers": [0, 2], "file": "x.npy"}), "inputs.x.fill is"),
        (Input([2], dtype="int64"), "nearly always the same number"),
        (Input([2], dtype="bool", fill="normal"), "nearly always the same number"),
        (Input([2], dtype="int64", fill={"integers": [3, 3]}), "inputs.x.fill is {'integers': [3, 3]}"),
        (Input([2], dtype="int64", fill={"integers": [0, 2.5]}), "inputs.x.fill is"),
        (Input([2], dtype="int8", fill={"integers": [0, 30522]}), "inputs.x.fill is"),
        (Input([2], dtype="bool", fill={"integers": [0, 3]}), "inputs.x.fill is"),
        (Input([2], fill={"factory": 3}), "inputs.x.fill is {'factory': 3}"),
        (Input([], fill="mask"), "no dimension to mask"),
        (Input([2], fill={"mask": "right"}), "inputs.x.fill is {'mask': 'right'}"),
        (Input([2], fill={"cache": 3}), "inputs.x.fill is {'cache': 3}"),
        (Input([2], fill={"file": "x.csv"}), "inputs.x.fill is {'file': 'x.csv'}"),
        (Input([1, 3, 8, 8], fill={"image": "x.png"}), "nothing says how it becomes a tensor"),
    ],
)
def test_each_problem_names_its_place(spec, place):
    wrong = [p.what for p in fills.problems("inputs.x.fill", spec, None)]
    assert any(place in what for what in wrong), wrong


def test_positions_name_a_mask():
    (problem,) = fills.between({"x": Input([2]), "y": Input([2], fill={"positions": "x"})})
    assert problem.what == "inputs.y.fill is {'positions': 'x'}, and inputs has no such mask"


def test_text_that_goes_on_is_padded_left_and_counts_from_its_first_token():
    shape = ["batch", "past+sequence"]
    inputs = {
        "places": Input(["batch", "sequence"], "int64", {"positions": "mask"}),
        "mask": Input(shape, "int64", {"mask": "left"}),
        "past": Input(["batch", "past", 2], fill={"cache": "present"}),
    }
    drawn = fills.draw(inputs, {"batch": 4, "past": 5, "sequence": 4}, 0)
    mask = drawn["mask"]
    assert mask.shape == (4, 9)
    assert mask[0].all()
    assert not mask.all()
    assert (np.diff(mask, axis=1) >= 0).all()
    assert [list(row) for row in drawn["places"]] == [list(range(n - 4, n)) for n in mask.sum(1)]
    assert drawn["past"].shape == (4, 5, 2)


def test_an_image_needs_four_dimensions():
    (problem,) = fills.problems("inputs.x.fill", Input([3, 8, 8], fill={"image": "x.png"}), PLAIN)
    assert "its shape is no tensor" in problem.what


def test_the_same_seed_draws_the_same_values_and_another_does_not():
    first, again, other = (draw(Input(["batch", 3]), {"batch": 2}, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_another_input_changes_no_values_of_the_first():
    beside = fills.draw({"w": Input([4]), "x": Input([4])}, {}, 0)
    np.testing.assert_array_equal(beside["x"], draw(Input([4])))
    assert (beside["w"] != beside["x"]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fill", [*fills.WORDS, {"integers": [0, 2]}], ids=str)
def test_values_have_the_shape_and_type_that_were_asked_for(dtype, fill):
    drawn = draw(Input(["batch", 5], dtype=dtype, fill=fill), {"batch": 3})
    assert (drawn.shape, drawn.dtype) == ((3, 5), np.dtype(dtype))


@pytest.mark.parametrize(
    ("fill", "low", "high"), [("uniform", 0.0, 1.0), ("normal", -6.0, 6.0), ("ones", 1.0, 1.0), ("zeros", 0.0, 0.0)]
)
def test_values_lie_where_their_fill_says(fill, low, high):
    drawn = draw(Input([1000], fill=fill))
    assert low <= drawn.min() <= drawn.max() <= high
    assert (drawn.std() > 0.2) == (fill in ("uniform", "normal"))  # 0.29 for uniform, 1 for normal
    assert (drawn.min() < 0) == (fill == "normal")


def test_integers_cover_their_range_without_its_end():
    drawn = draw(Input([1000], dtype="int64", fill={"integers": [5, 9]}))
    assert sorted(set(drawn.tolist())) == [5, 6, 7, 8]


def test_a_mask_is_ones_and_then_zeros_and_its_first_row_has_no_zeros():
    drawn = draw(Input([64, 10], dtype="int64", fill="mask"))
    assert (np.diff(drawn, axis=1) <= 0).all()
    assert drawn[0].all()
    assert {5, 10} <= set(drawn.sum(axis=1).tolist()) <= set(range(5, 11))


@pytest.mark.parametrize("suffix", fills.SUFFIXES)
def test_a_file_is_cut_and_repeated_along_dynamic_dimensions(tmp_path, suffix):
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    path = tmp_path / f"x{suffix}"
    {".npy": lambda: np.save(path, array), ".npz": lambda: np.savez(path, x=array)}.get(
        suffix, lambda: torch.save({"x": torch.from_numpy(array)}, path)
    )()
    spec = Input(["batch", 3], fill={"file": str(path)})
    np.testing.assert_array_equal(draw(spec, {"batch": 2}), array[:2])
    np.testing.assert_array_equal(draw(spec, {"batch": 5}), array[[0, 1, 2, 3, 0]])


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda p: np.savez(p, x=np.zeros((4, 2))), r"has shape 4x2\n  allowed: \['batch', 3\]"),
        (lambda p: np.savez(p, y=np.zeros((4, 3))), "holds no array 'x'"),
        (lambda p: p.write_bytes(b"PK\x03\x04 not really"), "cannot be read"),
        (lambda p: np.savez(p, x=np.array([None, {}])), "cannot be read: Object arrays cannot be loaded"),
    ],
)
def test_a_file_that_does_not_fit_is_named(tmp_path, write, says):
    write(tmp_path / "given.npz")
    spec = Input(["batch", 3], fill={"file": str(tmp_path / "given.npz")})
    with pytest.raises(StageError, match=rf"(?s)inputs\.x\.fill: .*given\.npz.*{says}"):
        draw(spec, {"batch": 2})


def test_a_photograph_is_scaled_cut_and_normalised(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 10:20, 0] = 255  # red left of the middle
    Image.fromarray(pixels).save(tmp_path / "red.png")
    spec = Input(["batch", 3, 8, 8], fill={"image": str(tmp_path / "red.png")})
    drawn = draw(spec, {"batch": 2}, preprocessing=PLAIN)
    assert drawn.shape == (2, 3, 8, 8)
    assert drawn[0, 0, 4, 2] == pytest.approx(1.0, abs=0.05)  # (1 - 0.5) / 0.5
    assert drawn[0, 0, 4, 6] == pytest.approx(-1.0, abs=0.05)
    np.testing.assert_array_equal(drawn[1], drawn[0, :, :, ::-1])  # mirrored: rows that are equal prove little


def test_a_small_photograph_is_enlarged_to_what_the_shape_wants(tmp_path):
    Image.fromarray(np.full((4, 4, 3), 255, np.uint8)).save(tmp_path / "white.png")
    spec = Input([1, 3, 16, 12], fill={"image": [str(tmp_path / "white.png")]})
    assert (draw(spec, preprocessing=PLAIN) == 1).all()


def test_a_factory_is_called_with_shape_and_seed():
    spec = Input(["batch", 2], dtype="int64", fill={"factory": f"{__name__}.tokens"})
    np.testing.assert_array_equal(draw(spec, {"batch": 3}, seed=7), np.full((3, 2), 7))


def test_a_factory_that_fails_is_named():
    spec = Input([2], fill={"factory": "numpy.linalg.inv"})
    with pytest.raises(StageError, match=r"inputs\.x\.fill: factory numpy\.linalg\.inv failed with TypeError"):
        draw(spec)


@pytest.mark.parametrize("fill", [{"image": None}, {"image": []}, {"image": [3]}])
def test_images_are_paths(fill):
    (problem,) = fills.problems("inputs.x.fill", Input([1, 3, 8, 8], fill=fill), PLAIN)
    assert problem.allowed == "the path of a file, or a list of them"


def test_a_scalar_is_drawn_as_one():
    assert draw(Input([])).shape == ()


def fractions(shape, seed):
    return torch.full(shape, 0.5)


def test_values_are_not_bent_to_another_type():
    spec = Input([2], dtype="int64", fill={"factory": f"{__name__}.fractions"})
    with pytest.raises(StageError, match=r"inputs\.x\.fill gives float32, which int64 cannot hold"):
        draw(spec)


def test_boxes_have_their_corners_in_order():
    drawn = fills.draw({"bbox": Input([7, 5, 4], "int64", {"boxes": [0, 1001]})}, {}, 0)["bbox"]
    assert (drawn[..., :2] <= drawn[..., 2:]).all()
    assert drawn.min() >= 0
    assert drawn.max() <= 1000
    assert len(np.unique(drawn)) > 50
