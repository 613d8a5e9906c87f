"""samples/record_answers.py: labelled samples, and what the eager module says to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness import BATCH, VECTOR, module, record, run_stage, world
from nets import FixedBatch, WritesIntoItsInput
from torch import nn

from pipeline.errors import ConfigError, StageError
from pipeline.store import key
from stages.interface.interface import Dim, Input
from stages.samples import files as sample_files
from stages.samples.record_answers import RecordAnswers

LABELS = np.arange(9) % 3


class Rows(FixedBatch):
    """Works for batches of every size."""

    def forward(self, x):
        return self.head(x)


class Between(nn.Module):
    """Two inputs, the second of whole numbers; two outputs."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x, scale):
        scores = self.head(x) * scale[:, None]
        return scores, scores.argmax(1)


def values(count=9, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 4)).astype(np.float32)


def arrays(folder, **by_name):
    np.savez(folder / "held.npz", **by_name)
    return {"source": "arrays", "path": str(folder / "held.npz")}


def answered(net, source, folder, *, inputs=VECTOR, dims=BATCH, outputs=None, count=None, seed=0):
    """The artifact, and the samples that are in it."""
    reference = record(net, folder / "reference", inputs=inputs, dims=dims, outputs=outputs)
    stage = RecordAnswers(source, count, None, seed)
    answers = run_stage(stage, {"reference": reference, "module": module(net)}, folder / "answers")
    return answers, sample_files.read(answers)


def by_hand(net, *arrays_in):
    with torch.inference_mode():
        returned = net(*(torch.from_numpy(v) for v in arrays_in))
    return [t.numpy() for t in (returned if isinstance(returned, tuple) else (returned,))]


@pytest.mark.parametrize("count", [8, 9, 3], ids=["whole batches", "a row left over", "less than a batch"])
@pytest.mark.parametrize(
    "dims",
    [{"batch": Dim(1, 2, 4)}, {"batch": Dim(4, 4, 8)}, {"batch": Dim(2, 2, 6, 2)}],
    ids=["from 1", "from 4", "even"],
)
def test_answers_are_the_eager_modules_own_row_by_row(tmp_path, dims, count):
    net, x = Rows(), values(count)
    answers, samples = answered(net, arrays(tmp_path, input=x, labels=LABELS[:count]), tmp_path, dims=dims)
    np.testing.assert_array_equal(samples.inputs["input"], x)
    np.testing.assert_array_equal(samples.labels, LABELS[:count])
    np.testing.assert_allclose(samples.answers["output"], by_hand(net, x)[0], rtol=1e-5, atol=1e-6)
    assert answers.facts["samples"] == {"from": "arrays", "count": count}
    assert answers.notes["says"] == f"{count} labelled samples, arrays; outputs output"


def test_a_model_of_a_fixed_batch_is_asked_in_batches_of_that_size(tmp_path):
    net, x = FixedBatch(), values()
    inputs = {"input": Input([2, 4], fill="normal")}
    _, samples = answered(net, arrays(tmp_path, input=x, labels=LABELS), tmp_path, inputs=inputs, dims={})
    expected = np.concatenate([by_hand(net, x[[i, min(i + 1, 8)]])[0] for i in range(0, 9, 2)])[:9]
    np.testing.assert_allclose(samples.answers["output"], expected, rtol=1e-5, atol=1e-6)


def test_several_inputs_and_outputs_keep_their_names(tmp_path):
    net, x, scale = Between(), values(), np.arange(1, 10)
    inputs = {"x": Input(["batch", 4]), "scale": Input(["batch"], "int64", {"integers": [1, 5]})}
    source = arrays(tmp_path, scale=scale, x=x, labels=LABELS)
    _, samples = answered(net, source, tmp_path, inputs=inputs, outputs=["scores", "best"])
    scores, best = by_hand(net, x, scale)
    np.testing.assert_allclose(samples.answers["scores"], scores, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(samples.answers["best"], best, strict=True)


def test_a_model_that_writes_into_its_input_does_not_change_the_samples(tmp_path):
    net, x = WritesIntoItsInput(), values()
    _, samples = answered(net, arrays(tmp_path, input=x.copy(), labels=LABELS), tmp_path)
    np.testing.assert_array_equal(samples.inputs["input"], x)
    np.testing.assert_allclose(samples.answers["output"], by_hand(net, x.copy())[0], rtol=1e-5, atol=1e-6)


def test_a_seed_chooses_as_many_as_are_asked_for_and_answers_go_with_them(tmp_path):
    net, x = Rows(), values()
    source, chosen = arrays(tmp_path, input=x, labels=np.arange(9)), []
    for seed in (0, 1):
        answers, samples = answered(net, source, tmp_path / str(seed), count=5, seed=seed)
        chosen.append({*samples.labels.tolist()})
        assert answers.facts["samples"]["count"] == 5 == len(chosen[-1])
        expected = by_hand(net, x[samples.labels])[0]
        np.testing.assert_allclose(samples.answers["output"], expected, rtol=1e-5, atol=1e-6)
    assert chosen[0] != chosen[1]


class Sum(Rows):
    def forward(self, x):
        return self.head(x).sum()


class Twice(Rows):
    def forward(self, x):
        return self.head(x).repeat(2, 1)


@pytest.mark.parametrize(("net", "shape"), [(Sum, "scalar"), (Twice, "8x4")])
def test_an_output_without_a_row_for_each_sample_is_refused(tmp_path, net, shape):
    says = rf"output 'output' is {shape} for 4 samples\n  allowed: .*\n  try:     model\.outputs"
    with pytest.raises(ConfigError, match=says):
        answered(net(), arrays(tmp_path, input=values(4), labels=LABELS[:4]), tmp_path, dims={"batch": Dim(1, 2, 4)})


def test_samples_without_labels_are_refused(tmp_path):
    with pytest.raises(StageError, match=r"the 9 samples have no labels.*\n  allowed: images in a folder for each"):
        answered(Rows(), arrays(tmp_path, input=values()), tmp_path)


@pytest.mark.parametrize(
    ("source", "count", "what"),
    [
        ({"source": "random"}, None, "samples.source is random, and random draws have no labels"),
        ({}, None, "samples.source is not set: nothing says where samples come from"),
        ({"source": "arrays", "path": "x.npz"}, 0, "count is 0"),
    ],
)
def test_what_cannot_be_evaluated_on_is_a_problem(source, count, what):
    (problem,) = RecordAnswers(source, count, None, 0).problems()
    assert problem.what == what
    assert "random" not in problem.allowed


def test_a_changed_sample_the_count_and_the_seed_change_the_key_and_a_name_does_not(tmp_path):
    def identity(source, count=5, seed=0):
        here = world(tmp_path)
        return key.canonical(RecordAnswers(source, count, None, seed).settle(here).identity(here))

    before = identity(source := arrays(tmp_path, input=values(), labels=LABELS))
    assert len({before, identity(source, count=None), identity(source, seed=1)}) == 3
    moved = (tmp_path / "held.npz").rename(tmp_path / "moved.npz")
    assert identity({"source": "arrays", "path": str(moved)}) == before
    assert identity(arrays(tmp_path, input=values(), labels=LABELS[::-1])) != before


def test_what_is_not_there_is_told_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.npz cannot be read"):
        RecordAnswers({"source": "arrays", "path": str(tmp_path / "gone.npz")}, None, None, 0).settle(world(tmp_path))
