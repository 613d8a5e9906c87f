"""samples/files.py: which rows are drawn, how they are kept, and in what batches an artifact is asked about them."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from harness import VECTOR, record
from nets import FixedBatch

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, StageError
from stages.data import rows as data_rows
from stages.data.rows import Row
from stages.interface import edits as interface_edits
from stages.interface.edits import NOTHING, Images
from stages.interface.interface import Dim, Input, Interface, Output
from stages.onnx.format import ONNX
from stages.reference import cases as reference_cases
from stages.samples import files as sample_files
from stages.samples.files import Samples

BATCH = {"batch": Dim(1, 2, 4)}


def rows(count, label=lambda i: None):
    return [Row({"x": np.full(2, i, np.float32)}, label(i)) for i in range(count)]


def numbers(samples):
    return samples.inputs["x"][:, 0].astype(int).tolist()


def artifact_of(interface, kind=ONNX, folder=None):
    return Artifact(kind, folder, facts=interface.facts)


def of_vectors(size="batch", dims=None):
    outputs = {"y": Output([], [size, 1], "float32")}
    return Interface({"x": Input([size, 2])}, ({} if isinstance(size, int) else dims or BATCH), outputs)


def batches_of(interface, count, most=64):
    """The numbers of the rows in each batch, and how many of them count."""
    x = np.arange(count, dtype=np.float32)[:, None].repeat(2, axis=1)
    samples = Samples({"x": x}, answers={"y": x[:, :1]})
    batches = []
    for arrays, answers, rows in sample_files.fed(artifact_of(interface), samples, most):
        np.testing.assert_array_equal(arrays["x"][:, :1], answers["y"])
        batches.append((arrays["x"][:, 0].astype(int).tolist(), rows))
    return batches


def test_a_seed_chooses_rows_each_once():
    drawn = [numbers(sample_files.draw(rows(100), 30, seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 30
    assert sorted(drawn[0]) != drawn[0]


def test_all_rows_come_in_their_order():
    assert numbers(sample_files.draw(rows(5), None, 0)) == [0, 1, 2, 3, 4]


def test_no_more_are_drawn_than_there_are():
    assert sorted(numbers(sample_files.draw(rows(5), 300, 0))) == [0, 1, 2, 3, 4]


def test_each_label_stays_with_its_row():
    samples = sample_files.draw(rows(50, label=lambda i: i * 10), 20, 0)
    assert samples.labels.tolist() == [i * 10 for i in numbers(samples)]


def test_rows_to_keep_apart_from_are_passed_over_and_counted():
    there = rows(6)
    apart = {*Samples({"x": np.stack([there[2].inputs["x"], there[4].inputs["x"]])}).digests}
    samples = sample_files.draw(there, None, 0, apart)
    assert (numbers(samples), samples.left_out) == ([0, 1, 3, 5], 2)


def test_a_row_is_told_by_all_of_its_inputs_their_types_and_shapes():
    x = np.zeros((1, 2), np.float32)
    others = [{"x": x}, {"y": x}, {"x": x.astype(np.int32)}, {"x": x.reshape(1, 1, 2)}, {"x": x, "y": x}, {"x": x + 1}]
    assert len({Samples(inputs).digests[0] for inputs in others}) == len(others)


def shaped(*shapes):
    return [Row({"x": np.zeros(s, np.float32)}, 1) for s in shapes]


@pytest.mark.parametrize(
    ("there", "says"),
    [
        ([], "the source is empty\n  allowed: one sample or more"),
        (rows(4, label=lambda i: i if i else None), "1 of 4 samples have no label\n  allowed: all of them, or none"),
        (rows(2, label=lambda i: np.asarray("cat")), "labels are <U3, such as 'cat'\n  allowed: numbers"),
        (rows(2, label=lambda i: np.zeros(i + 1)), "labels have different shapes: 1, 2"),
        (shaped((3,), (4,)), "samples of 'x' have different shapes: 3, 4\n  allowed: one shape for every sample"),
    ],
    ids=["none", "half labelled", "words", "labels' shapes", "shapes"],
)
def test_rows_that_make_no_samples_are_refused(there, says):
    with pytest.raises(StageError, match=says):
        sample_files.draw(there, None, 0)


def test_nothing_left_is_an_error():
    there = rows(2)
    apart = Samples({"x": np.stack([r.inputs["x"] for r in there])}).digests
    with pytest.raises(StageError, match=r"no sample is left of 2: 2 are what the artifact is checked with"):
        sample_files.draw(there, 1, 0, apart)


@pytest.mark.parametrize("kind", [Kind.SAMPLES, Kind.ANSWERS])
def test_what_is_written_is_read_in_the_models_order(tmp_path, kind):
    interface = Interface({"b": Input(["batch", 2], "int64"), "a": Input(["batch", 3])}, BATCH)
    b, a = np.arange(8).reshape(4, 2), np.asfortranarray(np.arange(12, dtype=np.float32).reshape(4, 3))
    sample_files.write(Samples({"b": b, "a": a}, np.arange(4), {"scores": -a}), kind, tmp_path)
    samples = sample_files.read(artifact_of(interface, kind, tmp_path))
    assert list(samples.inputs) == ["b", "a"]
    for array, written in zip([*samples.inputs.values(), samples.answers["scores"]], [b, a, -a], strict=True):
        np.testing.assert_array_equal(array, written, strict=True)
    assert samples.labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("size", "dims", "count", "most", "batches"),
    [
        ("batch", Dim(1, 2, 4), 6, 64, [([0, 1, 2, 3], 4), ([4, 5], 2)]),
        ("batch", Dim(1, 2, 4), 3, 2, [([0, 1], 2), ([2], 1)]),
        ("batch", Dim(3, 3, 4), 5, 64, [([0, 1, 2, 3], 4), ([4, 4, 4], 1)]),
        ("batch", Dim(2, 4, 8, 2), 7, 5, [([0, 1, 2, 3], 4), ([4, 5, 6, 6], 3)]),
        ("batch", Dim(3, 3, 4), 4, 2, [([0, 1, 2], 3), ([3, 3, 3], 1)]),
        (2, None, 3, 64, [([0, 1], 2), ([2, 2], 1)]),
        (2, None, 2, 1, [([0, 1], 2)]),
        (None, None, 5, 2, [([0, 1], 2), ([2, 3], 2), ([4], 1)]),
    ],
    ids=["range", "fewer", "least", "multiple", "least above most", "fixed", "fixed above most", "any"],
)
def test_the_last_batch_is_filled_up_where_it_must_be_and_no_more_rows_count(size, dims, count, most, batches):
    assert batches_of(of_vectors(size, dims and {"batch": dims}), count, most) == batches


@pytest.mark.parametrize(
    ("shapes", "says"),
    [([["batch", 2], ["time", 2]], "begin with batch, time"), ([["batch"], []], "begin with batch, scalar")],
)
def test_inputs_without_a_batch_in_common_have_no_rows(shapes, says):
    inputs = {f"x{i}": Input(shape) for i, shape in enumerate(shapes)}
    dims = {**BATCH, "time": Dim(1, 2, 4)}
    with pytest.raises(StageError, match=rf"samples are rows, and the inputs {says}\n  allowed: one batch"):
        list(data_rows.batches(Interface(inputs, dims), 3))


def test_an_artifact_with_edits_is_asked_in_its_own_names_types_and_layouts():
    x = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    edits = replace(NOTHING, names={"x": "given", "y": "told"}, dtypes={"x": "float16"}, layouts={"x": "NCH->NHC"})
    edited = Interface({"given": Input(["batch", 3, 2], "float16")}, BATCH)
    artifact = replace(artifact_of(edited), facts={**edited.facts, interface_edits.FACT: asdict(edits)})
    ((arrays, answers, count),) = sample_files.fed(artifact, Samples({"x": x}, answers={"y": x[:, 0]}))
    assert (list(arrays), list(answers), count) == (["given"], ["told"], 2)
    np.testing.assert_array_equal(arrays["given"], x.transpose(0, 2, 1).astype("float16"), strict=True)


def test_an_artifact_that_was_cut_to_other_sizes_does_not_take_samples():
    interface = Interface({"x": Input(["batch", 3])}, BATCH)
    with pytest.raises(StageError, match="does not take samples of these sizes"):
        list(sample_files.fed(artifact_of(interface), Samples({"x": np.zeros((2, 2), np.float32)})))


def test_an_artifact_that_takes_raw_photographs_does_not_take_samples():
    interface = of_vectors()
    edits = asdict(replace(NOTHING, images=Images("x")))
    artifact = replace(artifact_of(interface), facts={**interface.facts, interface_edits.FACT: edits})
    with pytest.raises(StageError, match=r"(?s)takes raw photographs.*without also=image"):
        list(sample_files.fed(artifact, Samples({"x": np.zeros((2, 2), np.float32)})))


def test_sets_that_share_a_sample_are_refused_and_others_are_not():
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    sample_files.keep_apart(Samples({"x": x[:3]}), Samples({"x": x[3:]}))
    says = r"2 of the 4 samples for evaluation are among the 4 for calibration\n  allowed: .*\n  try:     another"
    with pytest.raises(ConfigError, match=says):
        sample_files.keep_apart(Samples({"x": x[:4]}), Samples({"x": x[2:]}))


def test_the_rows_of_a_reference_are_those_of_all_of_its_cases(tmp_path):
    class Any(FixedBatch):
        def forward(self, x):
            return self.head(x)

    reference = record(Any(), tmp_path / "reference", inputs=VECTOR)
    cases = list(reference_cases.read(reference))
    assert sample_files.of_reference(reference) == {d for c in cases for d in Samples(c.inputs).digests}
    assert len(sample_files.of_reference(reference)) == sum(len(c.inputs["input"]) for c in cases)


def test_more_samples_than_memory_should_hold_are_refused_before_they_are_read(monkeypatch):
    class Many:
        caution = ""

        def __len__(self):
            return 1000

        def __getitem__(self, number):
            assert number == 0, "the first says how large the others are"
            return Row({"x": np.zeros(250, np.float32)}, None)

    monkeypatch.setattr(sample_files, "MOST_BYTES", 999_999)
    with pytest.raises(StageError, match=r"1,000 samples are 0\.0 GiB, and all of them are held in memory"):
        sample_files.draw(Many(), None, 0)
