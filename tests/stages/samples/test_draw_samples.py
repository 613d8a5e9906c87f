"""samples/draw_samples.py: samples to calibrate on, apart from those that artifacts are checked with."""

from __future__ import annotations

import numpy as np
import pytest
from harness import BATCH, VECTOR, contents, module, run_stage, world
from PIL import Image
from torch import nn

from pipeline.artifact import Kind
from pipeline.errors import ConfigError, StageError
from pipeline.store import key
from stages.interface.images import Preprocessing
from stages.interface.interface import Input
from stages.reference import cases as reference_cases
from stages.reference.record_reference import RecordReference
from stages.samples import files as sample_files
from stages.samples.draw_samples import DrawSamples

PLAIN = Preprocessing(8, [0.0], [1.0])


def reference_of(net, inputs, folder, *, preprocessing=None):
    stage = RecordReference(inputs, BATCH, None, None, preprocessing, False, None, [], 0, "quick", None, 16)
    return run_stage(stage, module(net), folder / "reference")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return reference_of(nn.Linear(4, 3), VECTOR, tmp_path_factory.mktemp("vectors"))


@pytest.fixture
def arrays(tmp_path):
    """A file of 20 samples, and the values in it."""
    values = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    np.savez(tmp_path / "held.npz", input=values)
    return {"source": "arrays", "path": str(tmp_path / "held.npz")}, values


def draw(source, reference, folder, *, count=300, preprocessing=None, seed=0):
    return run_stage(DrawSamples(source, count, preprocessing, seed), reference, folder)


def identity(source, folder, *, count=5, seed=0):
    here = world(folder)
    return key.canonical(DrawSamples(source, count, None, seed).settle(here).identity(here))


def pixels(seed):
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def photographs(folder, *seeds):
    folder.mkdir()
    for seed in seeds:
        Image.fromarray(pixels(seed)).save(folder / f"{seed}.png")
    return {"source": "images", "path": str(folder)}


def test_samples_are_of_the_source_and_each_is_drawn_once(reference, arrays, tmp_path):
    source, values = arrays
    samples = sample_files.read(draw(source, reference, tmp_path / "out", count=8))
    places = [int(np.flatnonzero((values == row).all(axis=1))[0]) for row in samples.inputs["input"]]
    assert len(set(places)) == 8
    assert samples.labels is None


def test_the_same_seed_draws_the_same_bytes_and_another_does_not(reference, arrays, tmp_path):
    drawn = [draw(arrays[0], reference, tmp_path / str(i), count=8, seed=s) for i, s in enumerate((0, 0, 1))]
    first, again, other = (contents(samples.folder) for samples in drawn)
    assert first == again != other


@pytest.mark.parametrize(("count", "drawn"), [(8, 8), (20, 20), (300, 20)])
def test_how_many_it_came_to_is_told(reference, arrays, tmp_path, count, drawn):
    samples = draw(arrays[0], reference, tmp_path / "out", count=count, seed=3)
    assert samples.facts["samples"] == {"from": "arrays", "count": drawn, "seed": 3}
    assert samples.notes == {"says": f"{drawn} samples, arrays"}
    assert len(sample_files.read(samples)) == drawn


def test_random_draws_are_marked_wherever_they_go(reference, tmp_path):
    samples = draw({"source": "random"}, reference, tmp_path / "out")
    assert samples.facts["samples"] == {"from": "RANDOM draws", "count": 32, "seed": 0}
    assert samples.notes["caution"] == "calibrates on 32 samples, RANDOM draws: accuracy is unknown"


def test_rows_that_artifacts_are_checked_with_are_left_out_and_that_is_told(reference, tmp_path):
    checked = [c.inputs["input"] for c in reference_cases.read(reference)]
    others = np.ones((3, 4), np.float32) * [[1], [2], [3]]
    np.savez(tmp_path / "held.npz", input=np.concatenate([checked[0], others.astype(np.float32), checked[3]]))
    samples = draw({"source": "arrays", "path": str(tmp_path / "held.npz")}, reference, tmp_path / "out")
    assert sorted(sample_files.read(samples).inputs["input"][:, 0].tolist()) == [1, 2, 3]
    assert samples.notes["says"] == "3 samples, arrays; 10 more are what artifacts are checked with"
    assert samples.facts["samples"]["count"] == 3


def test_a_photograph_that_artifacts_are_checked_with_is_left_out(tmp_path):
    source = photographs(tmp_path / "photos", 1, 2, 3)
    image = {"image": Input(["batch", 3, 8, 8], fill={"image": str(tmp_path / "photos" / "2.png")})}
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    reference = reference_of(net, image, tmp_path, preprocessing=PLAIN)
    samples = draw(source, reference, tmp_path / "out", preprocessing=PLAIN)
    rows = (sample_files.read(samples).inputs["image"] * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    assert {row.tobytes() for row in rows} == {pixels(1).tobytes(), pixels(3).tobytes()}
    assert samples.notes["says"] == "2 samples, images; 1 more are what artifacts are checked with"
    alone = photographs(tmp_path / "alone", 2)
    with pytest.raises(StageError, match=r"no sample is left of 1.*\n  allowed: samples apart from model\.inputs"):
        draw(alone, reference, tmp_path / "none", preprocessing=PLAIN)


class Sum(nn.Module):
    def forward(self, ids, mask):
        return (ids * mask).sum(1, keepdim=True).float()


def test_random_draws_follow_the_inputs_fills_and_are_uniform_where_those_are_files(tmp_path):
    np.save(tmp_path / "mask.npy", np.ones((2, 9), np.int64))
    inputs = {
        "ids": Input(["batch", 9], "int64", {"integers": [50, 60]}),
        "mask": Input(["batch", 9], "int64", {"file": str(tmp_path / "mask.npy")}),
    }
    samples = draw({"source": "random"}, reference_of(Sum(), inputs, tmp_path), tmp_path / "out")
    inputs_read = sample_files.read(samples).inputs
    assert {*inputs_read["ids"].ravel().tolist()} == {*range(50, 60)}
    assert {*inputs_read["mask"].ravel().tolist()} == {0, 1}


def test_labels_stay_with_their_samples(reference, tmp_path):
    values = np.arange(20, dtype=np.float32).repeat(4).reshape(20, 4)
    np.savez(tmp_path / "held.npz", input=values, labels=np.arange(20))
    samples = sample_files.read(
        draw({"source": "arrays", "path": str(tmp_path / "held.npz")}, reference, tmp_path / "out", count=9)
    )
    assert samples.labels.tolist() == samples.inputs["input"][:, 0].tolist()


def test_a_changed_sample_the_count_and_the_seed_change_the_key_and_a_name_does_not(arrays, tmp_path):
    source, values = arrays
    before = identity(source, tmp_path)
    assert identity(source, tmp_path, count=6) != before
    assert identity(source, tmp_path, seed=1) != before
    np.savez(tmp_path / "moved.npz", input=values)
    assert identity({"source": "arrays", "path": str(tmp_path / "moved.npz")}, tmp_path) == before
    values[19, 3] += 1e-3
    np.savez(tmp_path / "held.npz", input=values)
    assert identity(source, tmp_path) != before
    assert identity({"source": "random"}, tmp_path) != identity({"source": "random"}, tmp_path, seed=1)


def test_what_is_not_there_is_told_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.npz cannot be read") as caught:
        DrawSamples({"source": "arrays", "path": str(tmp_path / "gone.npz")}, 5, None, 0).settle(world(tmp_path))
    assert caught.value.exit_code == 2


def test_samples_that_do_not_fit_the_model_end_the_stage(reference, tmp_path):
    np.savez(tmp_path / "held.npz", input=np.zeros((3, 5)))
    with pytest.raises(StageError, match=r"held\.npz: a sample of 'input' is 5") as caught:
        draw({"source": "arrays", "path": str(tmp_path / "held.npz")}, reference, tmp_path / "out")
    assert caught.value.exit_code == 3


def test_every_problem_is_told_at_once():
    problems = [p.what for p in DrawSamples({"source": "imags"}, 0, None, 0).problems()]
    assert problems == ["samples.source is imags, did you mean 'images'?", "count is 0"]


def test_libraries_are_looked_up_for_the_source_alone():
    photos = DrawSamples({"source": "images", "path": "x"}, 5, PLAIN, 0)
    assert "PIL" in photos.modules({"reference": Kind.REFERENCE})
    assert "PIL" not in DrawSamples({"source": "random"}, 5, PLAIN, 0).modules({"reference": Kind.REFERENCE})


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.zeros((6, 4)), "input: one number in all 6 samples"),
        (np.tile(np.arange(4), (6, 1)), "6 samples, all of them equal"),
        (np.arange(4)[None], "one sample: "),
        (np.arange(24).reshape(6, 4), ""),
    ],
)
def test_samples_that_say_nothing_of_ranges_are_a_caution(values, says, reference, tmp_path):
    np.savez(tmp_path / "few.npz", input=values.astype(np.float32))
    drawn = draw({"source": "arrays", "path": str(tmp_path / "few.npz")}, reference, tmp_path / "drawn")
    assert drawn.notes.get("caution", "").startswith(says)
    assert bool(drawn.notes.get("caution")) is bool(says)
