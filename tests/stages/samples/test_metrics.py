"""samples/metrics.py: how good answers are, and what is said of a metric that does not work."""

from __future__ import annotations

import numpy as np
import pytest
from harness import world

from pipeline.errors import ConfigError, StageError
from pipeline.machine.world import code_identity
from pipeline.store import key
from stages.samples import metrics
from stages.samples.metrics import Metric

SCORES = np.array([[0.1, 0.9, 0.0], [0.8, 0.1, 0.1], [0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])


def measured(name, outputs=None, labels=(1, 0, 2, 1)):
    return metrics.measured(name, outputs or {"scores": SCORES}, np.asarray(labels), "this onnx")


@pytest.mark.parametrize(
    ("labels", "share"), [((1, 0, 2, 0), 1.0), ((1, 0, 2, 1), 0.75), ((0, 1, 1, 2), 0.0), ((1, 1, 1, 1), 0.25)]
)
def test_top1_is_the_share_of_labels_that_have_the_largest_score(labels, share):
    assert measured("top1", labels=labels) == share


def test_top1_finds_the_scores_among_other_outputs():
    assert measured("top1", {"features": np.zeros((4, 2, 2)), "norm": np.zeros((4, 1)), "scores": SCORES}) == 0.75


@pytest.mark.parametrize(
    ("outputs", "labels", "says"),
    [
        ({"a": SCORES, "b": SCORES}, (0,) * 4, "there are 2: a 4x3, b 4x3\n  allowed: one output of .samples, classes"),
        ({"a": SCORES[:, :1]}, (0,) * 4, r"there are 0: a 4x1\n.*\n  try:     a metric of your own: stages\.evaluate"),
        ({"a": SCORES}, (0, 1, 2, 3), "labels of shape 4, int64, from 0 to 3\n  allowed: a whole number from 0 to 2"),
        ({"a": SCORES}, (0, 1, 2, -1), "from -1 to 2"),
        ({"a": SCORES}, (0.0, 1.0, 2.0, 0.0), "labels of shape 4, float64"),
        ({"a": SCORES}, ((0, 1),) * 4, "labels of shape 4x2"),
    ],
    ids=["two outputs", "no scores", "too large", "below 0", "fractions", "two of each"],
)
def test_top1_says_what_it_takes(outputs, labels, says):
    with pytest.raises(StageError, match=says):
        measured("top1", outputs, labels)


def test_a_function_gets_outputs_by_name_and_labels(package):
    (package / "drydock_m.py").write_text("def ours(outputs, labels):\n  return outputs['b'].sum() * 10 + labels.max()")
    value = measured("drydock_m.ours", {"a": SCORES, "b": np.ones(4)}, (0, 1, 2, 3))
    assert (value, type(value)) == (43.0, float)


@pytest.mark.parametrize(
    ("code", "error", "says"),
    [
        ("def ours(o, l):\n  return float('nan')", StageError, "of this onnx is nan\n  allowed: a finite number, more"),
        ("def ours(o, l):\n  return 1e999", StageError, "metric drydock_n.ours of this onnx is inf"),
        ("def ours(o, l):\n  return o['logits']", StageError, r"failed on this onnx: KeyError: 'logits' .*_n\.py:2\)"),
        (
            "def ours(o):\n  return 1",
            StageError,
            "TypeError: .*\n  allowed: a function that takes scores 4x3 by name",
        ),
        ("def ours(o, l):\n  return None", StageError, "metric drydock_n.ours failed on this onnx: TypeError"),
        ("def our(o, l): ...", ConfigError, "drydock_n has no 'ours' to call, did you mean 'our'"),
        ("ours = 0.5", ConfigError, "drydock_n has no 'ours' to call"),
        ("import no_such_thing", ConfigError, "metric drydock_n.ours cannot be imported: ModuleNotFoundError"),
        ("1 / 0", ConfigError, r"cannot be imported: ZeroDivisionError: .*drydock_n\.py:1\)"),
    ],
)
def test_a_metric_that_does_not_work_is_told_with_its_line(package, code, error, says):
    (package / "drydock_n.py").write_text(code)
    with pytest.raises(error, match=says):
        measured("drydock_n.ours")


@pytest.mark.parametrize(("name", "near"), [("top-1", ", did you mean 'top1'?"), ("f1", ""), ("", ""), ("f1.", "")])
def test_a_name_that_is_no_metric_is_a_problem(name, near):
    (problem,) = Metric().problems("metric", name)
    assert problem.what == f"metric is '{name}'{near}"
    assert problem.allowed == "top1, or the dotted path of a function of outputs and labels"


@pytest.mark.parametrize("name", ["top1", "my_pkg.metrics.f1"])
def test_a_name_that_may_be_one_is_no_problem(name):
    assert Metric().problems("metric", name) == []


def test_a_metrics_code_is_part_of_what_identifies_it(package, tmp_path):
    def identity(name, code):
        (package / "drydock_o.py").write_text(code)
        code_identity.cache_clear()
        return key.canonical(Metric().identity("metric", name, world(tmp_path)))

    ours = [identity("drydock_o.ours", code) for code in ("ours = len", "ours = len", "ours = max")]
    assert ours[0] == ours[1] != ours[2]
    assert identity("drydock_o.other", "ours = max") != ours[2]
    assert identity("top1", "ours = len") == identity("top1", "ours = max")


def test_a_module_that_is_not_there_is_told_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match="there is no module 'no_such_package'"):
        Metric().settle("metric", "no_such_package.f1", world(tmp_path))
