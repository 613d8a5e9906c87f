"""The judge tells a planted fault from a change that makes no difference, whatever the check finds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from benchmarks.check import converted as converting
from benchmarks.check.faults.onnx import planting
from benchmarks.check.judging.judge import EQUIVALENT, KILLED, MISSED, STILLBORN, Judge, failed
from benchmarks.check.judging.yardstick import Truth
from benchmarks.check.models.subjects import BY_NAME
from pipeline.errors import CheckFailed

TAGGER = BY_NAME["tagger"]


@dataclass(frozen=True)
class SeesNothing:
    """A check that every artifact passes."""

    def run(self, inputs, folder):
        return inputs["artifact"]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A graph by the stages of a real run, with its reference and its check."""
    return converting.make(TAGGER, "onnx", tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def judges(converted):
    return {
        "real": Judge(TAGGER, converted, planting.save),
        "blind": Judge(TAGGER, replace(converted, check=SeesNothing()), planting.save),
    }


def nothing(model):
    pass


def an_identity_before_an_output(model):
    (node,) = (n for n in model.graph.node if model.graph.output[0].name in n.output)
    node.output[0] = "before"
    model.graph.node.append(helper.make_node("Identity", ["before"], [model.graph.output[0].name]))


def half_of_the_last_word(model):
    table = next(t for t in model.graph.initializer if list(t.dims) == [300, 24])
    values = numpy_helper.to_array(table).copy()
    values[299] /= 2
    table.CopyFrom(numpy_helper.from_array(values, table.name))


def no_words(model):
    table = next(t for t in model.graph.initializer if list(t.dims) == [300, 24])
    table.CopyFrom(numpy_helper.from_array(np.zeros((300, 24), np.float32), table.name))


def an_unknown_operator(model):
    model.graph.node[0].op_type = "NoSuchOperator"


@pytest.mark.parametrize(
    ("which", "change", "expected", "before"),
    [
        pytest.param("real", nothing, EQUIVALENT, False, marks=pytest.mark.slow),
        ("real", an_identity_before_an_output, EQUIVALENT, False),
        ("real", no_words, KILLED, True),
        ("blind", no_words, MISSED, True),
        ("blind", half_of_the_last_word, MISSED, False),
        ("blind", an_identity_before_an_output, EQUIVALENT, False),
        ("real", an_unknown_operator, STILLBORN, False),
    ],
)
def test_a_fault_is_told_from_what_makes_no_difference(converted, judges, tmp_path, which, change, expected, before):
    verdict = judges[which].of(change, onnx.load(converted.artifact.file), tmp_path / "mutant")
    assert (verdict.verdict, verdict.before) == (expected, before)
    assert bool(verdict.by) == (expected in (KILLED, MISSED))
    assert not (tmp_path / "mutant").exists()


def test_at_least_two_hundred_inputs_decide(judges):
    assert len(judges["real"].usable) >= 200


@pytest.mark.parametrize(
    ("answer", "apart"),
    [
        ([1.0, 2.0], False),
        ([1.0, 2.0 + 5e-6], False),
        ([1.0, 2.0 + 5e-5], True),
        ([1.0, np.nan], True),
        ([1.0], True),
    ],
)
def test_the_bound_is_the_models_own_error_ten_times(answer, apart):
    truth = Truth({"y": np.array([1.0, 2.0])}, {"y": 1e-5})
    assert bool(truth.told_apart({"y": np.array(answer, np.float32)})) == apart


def test_whole_numbers_are_equal_or_told_apart():
    truth = Truth({"n": np.array([1, 2])}, {})
    assert truth.told_apart({"n": np.array([1, 3])})
    assert not truth.told_apart({"n": np.array([1, 2], np.int32)})


def test_a_failed_check_names_its_questions_once():
    message = "this onnx does not agree with the PyTorch model\n" + "\n".join(
        f"    {line}: output 'y' is off"
        for line in ("min (1x2)", "min, asked twice (1x2)", "batch largest (8x2, scalar)", "h < w (3x5)")
    )
    questions = failed(CheckFailed(message))
    assert questions == [("min", "y"), ("batch largest", "y"), ("h < w", "y")]
