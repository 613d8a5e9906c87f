"""checking/evaluate.py: the accuracy of a real network's artifacts, and what happens when it dropped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conversions import edited, export, ir
from harness import backend, module, reference_in, run_stage, world
from onnx import numpy_helper
from safetensors.torch import load_file

from pipeline.artifact import Artifact, Kind, Origin
from pipeline.errors import CheckFailed, ConfigError, StageError
from pipeline.machine.world import code_identity
from pipeline.store import key
from stages.checking.evaluate import Evaluate
from stages.formats import ignored
from stages.formats.ignored import Ignored
from stages.interface.interface import Dim, Input
from stages.onnx.cast_fp16 import CastFp16
from stages.onnx.format import ONNX
from stages.openvino.format import OPENVINO
from stages.samples import files as sample_files
from stages.samples.draw_samples import DrawSamples
from stages.samples.record_answers import RecordAnswers

EXAMPLE = Path(__file__).parents[3] / "examples" / "05_int8_digits"
IMAGES = {"images": Input(["batch", 1, 8, 8], fill={"factory": "digits.some"})}
# 597 samples in batches of at most 64: the last one has 21, and must have 32.
DIMS = {"batch": Dim(32, 32, 64)}
TEST = {"source": "dataset", "path": "digits.Digits", "kwargs": {"split": "test"}}


@dataclass(frozen=True)
class House:
    """The network of the example, as ONNX, with its answers to the test digits."""

    graph: Artifact
    reference: Artifact
    answers: Artifact
    accuracy: float
    labels: np.ndarray


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE)
        import digits

        net = digits.Net()
        net.load_state_dict(load_file(EXAMPLE / "digits.safetensors"))
        graph = export("export", net, folder, inputs=IMAGES, dims=DIMS, outputs=["scores"])
        inputs = {"reference": reference_in(folder), "module": module(net)}
        answers = run_stage(RecordAnswers(TEST, None, None, 0), inputs, folder / "answers")
        test_split = digits.Digits("test")
        right = net(torch.from_numpy(test_split.images)).argmax(1).numpy() == test_split.labels
        yield House(graph, reference_in(folder), answers, float(right.mean()), test_split.labels)


def stage(**settings):
    usual = {"metric": "top1", "max_drop": None, "compute": "float32", "properties": {}, "extensions": []}
    return Evaluate(**{**usual, "blame": False, **settings})


def evaluated(house, folder, *, artifact=None, calibration=None, **settings):
    inputs = {"artifact": artifact or house.graph, "answers": house.answers}
    inputs |= {"calibration": calibration} if calibration else {}
    return run_stage(stage(**settings), inputs, folder / "evaluate")


def always_zero(model):
    """Whatever it is shown, it says 0."""
    bias = next(i for i in model.graph.initializer if i.name == "classifier.3.bias")
    values = numpy_helper.to_array(bias).copy()
    values[0] += 100
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))


@pytest.fixture
def wrong(house, tmp_path):
    return edited(house.graph, tmp_path / "wrong", always_zero)


def test_the_network_is_a_real_one_and_the_graph_is_as_accurate(house, tmp_path):
    result = evaluated(house, tmp_path, max_drop=0.0)
    assert house.accuracy > 0.95
    assert result.notes["evaluation"] == {
        "metric": "top1",
        "value": house.accuracy,
        "of_the_model": house.accuracy,
        "drop": 0.0,
        "max_drop": 0.0,
        "samples": 597,
        "computes_in": "float32",
    }
    assert result.notes["says"].endswith("of 597 samples")
    assert result.notes["claims"] == {"accuracy": {"metric": "top1", "samples": 597, "max_drop": 0.0}}


def test_the_artifact_goes_on_as_it_is(house, tmp_path):
    result = evaluated(house, tmp_path, artifact=replace(house.graph, digest="d" * 64))
    assert (result.folder, result.digest, result.facts) == (house.graph.folder, "d" * 64, house.graph.facts)


def test_an_ir_in_other_names_is_as_accurate(house, tmp_path):
    backend("openvino")
    compiled = ir(house.graph, tmp_path / "ir", names={"images": "pictures", "scores": "logits"})
    assert evaluated(house, tmp_path, artifact=compiled).notes["evaluation"]["value"] == house.accuracy


def test_a_drop_beyond_what_is_allowed_ends_the_run(house, wrong, tmp_path):
    zeros = float((house.labels == 0).mean())
    with pytest.raises(CheckFailed) as caught:
        evaluated(house, tmp_path, artifact=wrong, max_drop=0.01)
    assert caught.value.exit_code == 5
    assert str(caught.value).splitlines() == [
        f"top1 {zeros:.4g}, the PyTorch model's {house.accuracy:.4g}, of 597 samples: "
        f"dropped by {house.accuracy - zeros:.4g}",
        "  allowed: a drop of 0.01 at most",
        "  try:     another precision, or stages.evaluate.max_drop=…",
    ]


def test_answers_that_are_no_numbers_fail_whatever_a_metric_makes_of_them(house, tmp_path):
    def never(model):
        bias = next(i for i in model.graph.initializer if i.name == "classifier.3.bias")
        bias.CopyFrom(numpy_helper.from_array(np.full(10, np.nan, np.float32), bias.name))

    with pytest.raises(CheckFailed, match="answers NaN or infinities to 5970 numbers of 'scores'"):
        evaluated(house, tmp_path, artifact=edited(house.graph, tmp_path / "nan", never))


def test_a_model_that_is_right_no_more_often_than_chance_is_told(house, tmp_path):
    samples = sample_files.read(house.answers)
    (tmp_path / "off").mkdir()
    sample_files.write(replace(samples, labels=(samples.labels + 1) % 10), Kind.ANSWERS, tmp_path / "off")
    off = replace(house, answers=replace(house.answers, folder=tmp_path / "off"))
    assert "are the labels its own?" in evaluated(off, tmp_path).notes["caution"]
    assert "caution" not in evaluated(house, tmp_path / "right").notes


@pytest.mark.parametrize("max_drop", [None, 0.9], ids=["measured only", "within"])
def test_a_drop_within_what_is_allowed_is_told(house, wrong, tmp_path, max_drop):
    evaluation = evaluated(house, tmp_path, artifact=wrong, max_drop=max_drop).notes["evaluation"]
    assert evaluation["drop"] == pytest.approx(house.accuracy - (house.labels == 0).mean())
    assert evaluation["max_drop"] == max_drop


ROUNDED = """
def ours(outputs, labels):
    return 0.7 if outputs["scores"].max() > 90 else 0.8

def turned(outputs, labels):
    return 1.5 - ours(outputs, labels)
"""


@pytest.mark.parametrize(
    ("metric", "max_drop", "passes"),
    [("ours", 0.1, True), ("ours", 0.0999, False), ("ours", 0.0, False), ("turned", 0.0, True)],
    ids=["on the line", "beyond", "any", "better than the model"],
)
def test_the_line_is_drawn_where_the_setting_says(house, wrong, package, tmp_path, metric, max_drop, passes):
    (package / "drydock_p.py").write_text(ROUNDED)
    settings = {"artifact": wrong, "metric": f"drydock_p.{metric}", "max_drop": max_drop}
    if passes:
        evaluated(house, tmp_path, **settings)
    else:
        with pytest.raises(CheckFailed, match=r"drydock_p\.ours 0\.7, the PyTorch model's 0\.8"):
            evaluated(house, tmp_path, **settings)


def test_a_metric_gets_a_row_for_each_sample_in_order_and_no_more(house, package, tmp_path):
    (package / "drydock_q.py").write_text(
        "def ours(outputs, labels):\n"
        "  assert list(outputs) == ['scores'] and outputs['scores'].shape == (597, 10)\n"
        "  return float((outputs['scores'].argsort(axis=1)[:, -2:] == labels[:, None]).any(axis=1).sum())"
    )
    scores, labels = sample_files.read(house.answers).answers["scores"], house.labels
    evaluation = evaluated(house, tmp_path, metric="drydock_q.ours").notes["evaluation"]
    assert evaluation["value"] == sum(label in row.argsort()[-2:] for row, label in zip(scores, labels, strict=True))


def test_a_metric_that_is_no_number_ends_the_stage(house, package, tmp_path):
    (package / "drydock_r.py").write_text("def ours(outputs, labels):\n  return float('nan')")
    with pytest.raises(StageError, match=r"metric drydock_r\.ours of this onnx is nan"):
        evaluated(house, tmp_path, metric="drydock_r.ours")


def test_samples_that_it_was_calibrated_on_are_refused(house, tmp_path):
    drawn = [
        run_stage(DrawSamples(source, 7, None, 0), house.reference, tmp_path / source["kwargs"]["split"])
        for source in (TEST, {**TEST, "kwargs": {"split": "calibration"}})
    ]
    with pytest.raises(ConfigError, match="7 of the 597 samples for evaluation are among the 7 for calibration"):
        evaluated(house, tmp_path, calibration=drawn[0])
    evaluated(house, tmp_path / "apart", calibration=drawn[1])


def test_a_type_that_the_runtime_does_not_compute_in_is_refused(house, tmp_path):
    with pytest.raises(CheckFailed, match="asked to compute in float16, the runtime computes in float32"):
        evaluated(house, tmp_path, compute="float16")


@pytest.fixture
def lowered(house, tmp_path):
    """The graph in float16, as the runner hands it on."""
    half = run_stage(CastFp16(Ignored([], [], []), []), house.graph, tmp_path / "half")
    assert ignored.FACT in half.facts
    return replace(half, origin=Origin("cast", lambda: house.graph))


def test_where_the_gate_fails_the_layers_that_are_to_blame_are_named(house, lowered, tmp_path):
    wrong = edited(lowered, tmp_path / "wrong", always_zero)
    with pytest.raises(CheckFailed, match=r"(?s)brought in by .* \(Gemm, .*'stages\.cast\.ignored\.names=\["):
        evaluated(house, tmp_path, artifact=wrong, compute="float16", max_drop=0.01)


@pytest.mark.parametrize("blame", [True, False])
def test_where_it_holds_they_are_looked_for_when_that_is_asked_for(house, lowered, tmp_path, blame):
    result = evaluated(house, tmp_path, artifact=lowered, compute="float16", max_drop=0.01, blame=blame)
    assert ("blame" in result.notes) is blame


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"metric": "top-1"}, "metric is 'top-1', did you mean 'top1'?"),
        ({"max_drop": -0.1}, "max_drop is -0.1"),
        ({"max_drop": float("inf")}, "max_drop is inf"),
        ({"max_drop": float("nan")}, "max_drop is nan"),
        ({"compute": "int8"}, "compute is int8"),
    ],
)
def test_a_setting_that_cannot_be_is_a_problem(settings, what):
    (problem,) = stage(**settings).problems()
    assert problem.what == what
    assert problem.allowed


def identity(folder, **settings):
    code_identity.cache_clear()
    here = world(folder)
    return key.canonical(stage(**settings).settle(here).identity(here))


def test_a_metrics_code_and_the_gate_are_part_of_the_key(package, tmp_path):
    (package / "drydock_s.py").write_text("ours = len")
    before = identity(tmp_path, metric="drydock_s.ours")
    assert identity(tmp_path, metric="drydock_s.ours") == before
    assert identity(tmp_path, metric="drydock_s.ours", max_drop=0.1) != before
    (package / "drydock_s.py").write_text("ours = max")
    assert identity(tmp_path, metric="drydock_s.ours") != before


def test_another_processor_is_another_key(tmp_path, monkeypatch):
    before = identity(tmp_path)
    monkeypatch.setattr(type(world(tmp_path)), "processor", lambda self: {"name": "another"})
    assert identity(tmp_path) != before


def test_a_metric_that_is_not_there_is_told_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match="there is no module 'no_such_package'"):
        stage(metric="no_such_package.f1").settle(world(tmp_path))


@pytest.mark.parametrize(("kind", "runtime"), [(ONNX, "onnxruntime"), (OPENVINO, "openvino")])
def test_it_requires_the_runtime_of_what_it_is_given_and_no_other(kind, runtime):
    assert {"onnxruntime", "openvino"} & {*stage().modules({"artifact": kind})} == {runtime}
