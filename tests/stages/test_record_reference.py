"""stages/record_reference.py, and the files of stages/_reference.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness import (
    BATCH,
    BATCH_SEQ,
    IMAGE,
    TOKENS,
    VECTOR,
    Attention,
    FixedBatch,
    TinyConv,
    TwoOutputs,
    WritesIntoItsInput,
    contents,
    module,
    run_stage,
)
from torch import nn

from pipeline.errors import StageError
from stages import _reference
from stages._interface import Input
from stages.record_reference import RecordReference


def record(net, folder, *, inputs=IMAGE, dims=BATCH, outputs=("logits",), seed=0):
    return run_stage(RecordReference(inputs, dims, list(outputs), seed), module(net), folder)


class Returns(nn.Module):
    """Returns what it is told to."""

    def __init__(self, make) -> None:
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


def test_answers_are_recorded_at_the_example_the_bounds_and_an_odd_size(reference):
    shapes = {c.label: (c.inputs["input"].shape, c.outputs["logits"].shape) for c in _reference.read(reference)}
    sizes = {"example": 2, "min": 1, "odd": 3, "max": 8}
    assert shapes == {label: ((n, 3, 32, 32), (n, 10)) for label, n in sizes.items()}


def test_answers_are_the_eager_modules_own(reference, tiny):
    for case in _reference.read(reference):
        answer = tiny.live(torch.from_numpy(case.inputs["input"]))
        np.testing.assert_array_equal(case.outputs["logits"], answer.numpy())


def test_every_dynamic_dimension_is_varied(tmp_path):
    made = record(Attention(), tmp_path / "out", inputs=TOKENS, dims=BATCH_SEQ, outputs=["encoded"])
    shapes = {c.label: c.outputs["encoded"].shape for c in _reference.read(made)}
    assert shapes == {"example": (2, 4, 8), "min": (1, 2, 8), "odd": (3, 3, 8), "max": (8, 16, 8)}


def test_outputs_get_their_names_in_order(tmp_path):
    made = record(TwoOutputs(), tmp_path / "out", outputs=["logits", "features"])
    case = next(_reference.read(made))
    assert {n: v.shape for n, v in case.outputs.items()} == {"logits": (2, 10), "features": (2, 4, 32, 32)}


def test_inputs_are_given_in_the_order_of_the_yaml(tmp_path):
    class Minus(nn.Module):
        def forward(self, b, a):
            return b - a

    inputs = {"b": Input(["batch", 4]), "a": Input(["batch", 4])}
    case = next(_reference.read(record(Minus(), tmp_path / "out", inputs=inputs)))
    np.testing.assert_array_equal(case.outputs["logits"], case.inputs["b"] - case.inputs["a"])


def test_two_recordings_are_the_same_bytes(tiny, reference, tmp_path):
    again = run_stage(RecordReference(IMAGE, BATCH, ["logits"], 0), tiny, tmp_path / "again")
    assert contents(again.folder) == contents(reference.folder)


def test_another_seed_asks_something_else(tiny, reference, tmp_path):
    other = run_stage(RecordReference(IMAGE, BATCH, ["logits"], 1), tiny, tmp_path / "other")
    assert contents(other.folder) != contents(reference.folder)


def test_a_model_that_writes_into_its_input_is_recorded_with_what_it_was_given(tmp_path):
    net = WritesIntoItsInput()
    case = next(_reference.read(record(net, tmp_path / "out", inputs=VECTOR)))
    answer = net(torch.from_numpy(case.inputs["input"].copy())).detach()
    np.testing.assert_array_equal(case.outputs["logits"], answer.numpy())


def test_a_shape_that_the_model_rejects_is_named(tmp_path):
    with pytest.raises(StageError, match="the model rejects input 1x4 float32"):
        record(FixedBatch(), tmp_path / "out", inputs=VECTOR)


def test_a_wrong_number_of_channels_is_named(tmp_path):
    with pytest.raises(StageError, match=r"the model rejects input 2x4x32x32 float32: .*expected.*3 channels"):
        record(TinyConv(), tmp_path / "out", inputs={"input": Input(["batch", 4, 32, 32])})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda x: {"logits": x}, "the model returns dict"),
        (lambda x: (x, None), "the model returns NoneType"),
        (lambda x: (x, [x]), "the model returns list"),
        (
            lambda x: (x, x),
            r"(?s)outputs names 1 \(logits\), the model returns 2.*model.outputs=\[output_0, output_1\]",
        ),
    ],
    ids=["dict", "None", "nested", "two"],
)
def test_outputs_that_the_yaml_does_not_describe_are_refused(tmp_path, make, says):
    with pytest.raises(StageError, match=says):
        record(Returns(make), tmp_path / "out")


def test_a_model_that_answers_the_same_to_everything_proves_nothing(tmp_path):
    with pytest.raises(StageError, match="logits: the model answers the same"):
        record(Returns(lambda x: torch.zeros(x.shape[0], 10)), tmp_path / "out")


def test_one_output_may_be_the_same_for_every_input(tmp_path):
    net = Returns(lambda x: (x.mean((2, 3)), torch.ones(x.shape[0], 2)))
    made = record(net, tmp_path / "out", outputs=["means", "ones"])
    assert made.notes["says"] == "4 shapes; ones the same for every input"


def test_nothing_is_left_of_a_refused_recording(tmp_path):
    with pytest.raises(StageError):
        record(FixedBatch(), tmp_path / "out", inputs=VECTOR)
    assert contents(tmp_path / "out") == {}
