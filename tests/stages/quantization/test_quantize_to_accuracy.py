"""quantization/quantize_to_accuracy.py: what int8 costs stays within what was allowed, however it was calibrated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conversions import ir, provenance, quantized
from harness import NOTHING_IGNORED, contents, run_stage, world

from pipeline.errors import CheckFailed, ConfigError, StageError
from stages.checking.evaluate import Evaluate
from stages.formats import graphs
from stages.formats.ignored import Ignored
from stages.onnx.format import ONNX
from stages.openvino.format import OPENVINO
from stages.quantization import quantize_to_accuracy
from stages.quantization.quantize_to_accuracy import QuantizeToAccuracy
from stages.samples.record_answers import RecordAnswers

MAX_DROP = 0.003  # of 597 digits one may be lost; calibrated badly, int8 loses five
STAGE = QuantizeToAccuracy(None, None, "ANY", True, False, NOTHING_IGNORED, [], None, "top1", MAX_DROP)


def controlled(digits, kind, folder, stage=STAGE, **artifacts):
    inputs = {"graph": digits.graph(kind), "samples": digits.spoiled, "answers": digits.answers, **artifacts}
    return run_stage(stage, inputs, folder)


def measured(artifact, digits, folder):
    stage = Evaluate("top1", None, "float32", {}, [], False)
    return run_stage(stage, {"artifact": artifact, "answers": digits.answers}, folder).notes["evaluation"]


@pytest.fixture(scope="module")
def within_drop(digits, tmp_path_factory):
    """The digits' network in int8 as far as MAX_DROP allows, by format; calibrated on spoiled samples."""
    folder = tmp_path_factory.mktemp("held")
    return {kind: controlled(digits, kind, folder / kind) for kind in (ONNX, OPENVINO)}


def test_where_plain_int8_loses_too_much_it_does_not(digits, kind, within_drop, tmp_path):
    plain = quantized(digits.graph(kind), digits.spoiled, tmp_path / "plain")
    assert measured(plain, digits, tmp_path / "too much")["drop"] > MAX_DROP
    assert measured(within_drop[kind], digits, tmp_path / "enough")["drop"] <= MAX_DROP


def test_some_operations_are_back_in_floating_point_and_others_are_not(kind, within_drop):
    assert graphs.read(within_drop[kind]).operations() == {"int8": 3, "float32": 1}


def test_the_metric_before_and_after_is_told(digits, kind, within_drop, tmp_path):
    evaluation = measured(within_drop[kind], digits, tmp_path / "evaluate")
    assert (
        within_drop[kind]
        .notes["says"]
        .endswith(f"; top1 {evaluation['value']:.4g}, {evaluation['of_the_model']:.4g} before")
    )


def test_where_plain_int8_is_good_enough_it_is_that(digits, kind, tmp_path):
    result = controlled(digits, kind, tmp_path / "made", replace(STAGE, max_drop=0.01), samples=digits.samples)
    assert graphs.read(result).operations() == {"int8": 4}


@pytest.mark.slow  # of what it begins with in test_quantize
def test_two_runs_are_the_same_bytes_whatever_ran_in_between(digits, kind, within_drop, tmp_path):
    ir(digits.traced, tmp_path / "another")
    assert contents(controlled(digits, kind, tmp_path / "again").folder) == contents(within_drop[kind].folder)


def test_facts_tell_every_setting_and_are_in_the_file(kind, within_drop):
    scheme = {
        "preset": None,
        "model_type": None,
        "target_device": "ANY",
        "fast_bias_correction": True,
        "symmetric": False,
    }
    assert within_drop[kind].facts["quantization"] == {
        "weights": "int8",
        "settings": {"metric": "top1", "max_drop": MAX_DROP, **scheme},
        "samples": {"from": "dataset", "count": 300, "seed": 0, "digest": "s" * 64},
        "taken": 300,
        "says": "int8, calibrated on 300 samples: dataset",
    }
    assert provenance(within_drop[kind])["quantization"] == within_drop[kind].facts["quantization"]


def test_samples_for_evaluation_that_are_among_those_for_calibration_are_refused(digits, kind, tmp_path):
    source = {"source": "dataset", "path": "digits.Digits", "kwargs": {"split": "train"}}
    inputs = {"reference": digits.reference, "module": digits.module}
    answers = run_stage(RecordAnswers(source, 50, None, 0), inputs, tmp_path / "answers")
    with pytest.raises(ConfigError, match=r"\d+ of the 50 samples for evaluation are among the 300 for calibration"):
        controlled(digits, kind, tmp_path / "made", answers=answers, samples=digits.samples)


def test_a_metric_that_takes_more_than_one_sample_is_held_too(digits, kind, tmp_path):
    result = controlled(digits, kind, tmp_path / "made", replace(STAGE, metric="metrics.top1_of_many"))
    assert measured(result, digits, tmp_path / "evaluate")["drop"] <= MAX_DROP
    assert graphs.read(result).operations() == {"int8": 3, "float32": 1}


def test_what_is_to_be_left_alone_stays_in_floating_point(digits, tmp_path):
    first = "/model/features/0/Conv"
    stage = replace(STAGE, max_drop=1.0, ignored=Ignored([first], [], []))
    built = graphs.read(controlled(digits, ONNX, tmp_path / "made", stage))
    assert (built.computes_in(first), built.operations()) == ("float32", {"int8": 3, "float32": 1})


def test_samples_tell_models_apart_by_their_answers_where_a_metric_takes_more_than_one():
    answers, exact = ([{"scores": np.float32([[0, place]])} for place in places] for places in ((1, 5), (1, 2)))
    rows = [({}, np.array([1]))] * 2
    far = quantize_to_accuracy._each("metrics.top1_of_many", answers, rows, exact)
    assert far == [0, -3]
    assert quantize_to_accuracy._each("top1", answers, rows, exact) == [1, 1]


def test_a_drop_that_nothing_helps_against_is_told(digits, tmp_path):
    with pytest.raises(CheckFailed, match=r"metrics\.worse_each_time dropped by ") as caught:
        controlled(digits, ONNX, tmp_path / "made", replace(STAGE, metric="metrics.worse_each_time"))
    assert caught.value.problems[0].allowed == f"a drop of {MAX_DROP} at most"


def test_a_metric_that_cannot_be_imported_is_told_in_our_words(digits, tmp_path):
    with pytest.raises(ConfigError, match=r"metric metrics\.no_such: metrics has no 'no_such'"):
        controlled(digits, ONNX, tmp_path / "made", replace(STAGE, metric="metrics.no_such"))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"target_device": "CPU_SPR"}, "target_device is CPU_SPR"),
        ({"ignored": Ignored(["x"], [], [])}, "ignored.names"),
    ],
)
def test_what_the_graph_itself_rules_out_is_told(digits, tmp_path, settings, says):
    with pytest.raises((StageError, ConfigError), match=says):
        controlled(digits, ONNX, tmp_path / "made", replace(STAGE, **settings))


def test_a_file_of_an_opset_that_int8_cannot_be_said_at_is_refused(digits, tmp_path):
    with pytest.raises(StageError, match="int8 at opset 12 cannot be written"):
        controlled(digits, ONNX, tmp_path / "made", graph=digits.onnx(12))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"max_drop": 0.0}, "max_drop is 0.0"),
        ({"max_drop": -1.0}, "max_drop is -1.0"),
        ({"max_drop": float("inf")}, "max_drop is inf"),
        ({"max_drop": float("nan")}, "max_drop is nan"),
        ({"metric": "top5"}, "metric is 'top5'"),
        ({"graph_opset": 21}, "int8 at opset 21 cannot be relied on"),
        ({"preset": "mixd"}, "preset is mixd, did you mean 'mixed'?"),
        ({"ignored": Ignored([], ["("], [])}, "ignored.patterns has '('"),
        ({"extensions": ["bad"]}, "extensions names 'bad'"),
    ],
)
def test_wrong_settings_are_told_before_any_work(settings, says):
    (problem,) = replace(STAGE, **settings).problems()
    assert problem.what.startswith(says)
    assert problem.allowed


def test_the_metrics_code_is_part_of_the_key_and_the_opset_that_a_graph_will_have_is_not(tmp_path):
    here = world(tmp_path)
    assert replace(STAGE, graph_opset=18).identity(here) == STAGE.identity(here)
    assert replace(STAGE, metric="metrics.worse_each_time").identity(here)["metric"] == {
        "path": "metrics.worse_each_time",
        "code": here.code("metrics.worse_each_time"),
    }
