"""The screen: one line for each stage, a plan as a table, and a truthful summary."""

import io
import logging
import sys
from pathlib import Path

import pytest

from pipeline.artifact import Kind
from pipeline.planning.graph import Node
from pipeline.planning.plan import Step, Todo
from pipeline.running.outcome import Outcome, Result
from pipeline.terminal import console
from pipeline.terminal.console import Console, StderrHandler
from stages.onnx.format import ONNX

PARITY = {
    "against": "the PyTorch model",
    "cases": [{"max_rel": 0.00012, "shape": "1x3"}, {"max_rel": 2e-06, "shape": "8x3"}],
}


def outcome(name, how="built", digest="aa", **more):
    return Outcome(name, how, "key", digest, **more)


def test_a_stage_is_one_line():
    built = outcome("export", seconds=3.94, size=102_185_820, notes={"says": "opset 18, 122 nodes"})
    assert console.stage_line(built) == "export           built        3.9 s    97.5 MiB  opset 18, 122 nodes"


def test_a_stage_in_memory_has_no_size_and_no_trailing_space():
    assert console.stage_line(outcome("load", seconds=0.2)) == "load             built        0.2 s"


def test_the_plan_is_a_table_of_what_is_done_with_what_and_why():
    steps = [
        Step(Node("load", None, {}, {}, Kind.MODULE), Todo.IDLE),
        Step(Node("export", None, {"module": "load"}, {}, ONNX), Todo.BUILD, "settings.opset: 17 → 18"),
        Step(Node("check", None, {"a": "export", "r": "load"}, {}, ONNX), Todo.HIT),
    ]
    assert console.plan_table(steps).splitlines() == [
        "load    hit",
        "export  miss  load          settings.opset: 17 → 18",
        "check   hit   export, load",
    ]


def test_families_of_values_are_one_figure_beside_the_sizes():
    cases = [{**c, "family": "sizes"} for c in PARITY["cases"]]
    cases += [{"max_rel": e, "shape": "1x3", "family": "extremes"} for e in (1e-7, 3e-6)]
    line = console.parity([outcome("check", notes={"parity": {**PARITY, "cases": cases}})], "aa")
    assert line.endswith("1.2e-04 at 1x3, 2.0e-06 at 8x3, 3.0e-06 with 2 families of values")


def test_what_was_not_judged_is_counted():
    line = console.parity([outcome("check", notes={"parity": {**PARITY, "not_judged": ["ties (4x3): …"]}})], "aa")
    assert line.endswith("; not judged, since rounding decides them: 1")


def test_parity_is_that_of_the_last_check_of_this_very_artifact():
    outcomes = [
        outcome(
            "early",
            digest="aa",
            notes={"parity": {"cases": [{"max_rel": 0.5, "shape": "1x3"}]}},
        ),
        outcome("late", digest="aa", notes={"parity": PARITY}),
        outcome("other", digest="bb", notes={"parity": {"cases": []}}),
    ]
    assert (
        console.parity(outcomes, "aa")
        == "worst relative error against the PyTorch model 1.2e-04 at 1x3, 2.0e-06 at 8x3"
    )


@pytest.mark.parametrize("digest", ["bb", None])
def test_an_artifact_that_no_check_looked_at_is_not_called_checked(digest):
    assert console.parity([outcome("check", notes={"parity": PARITY})], digest).startswith("NOT CHECKED")


def test_an_artifact_that_was_only_run_is_called_not_checked_and_why():
    why = "tensorflow would run it, and is not installed (pip install tensorflow)"
    unchecked = {"against": "the frozen graph", "why": why, "cases": [{"shape": "2x3"}, {"shape": "1x3"}]}
    outcomes = [
        outcome("early", digest="aa", notes={"parity": PARITY}),
        outcome("late", digest="aa", notes={"unchecked": unchecked}),
    ]
    assert console.parity(outcomes, "aa") == f"NOT CHECKED against the frozen graph: {why}; it only runs, at 2x3, 1x3"


def finished():
    facts = {"source": {"bytes": 2048}, "weights": {"says": "IMAGENET1K_V2"}}
    return Result(
        [
            outcome("load", "hit", None),
            outcome("export", "hit", seconds=3.0),
            outcome("compile", "built", "bb", seconds=9.0),
            outcome("check", "hit", "bb", seconds=0.5, notes={"parity": PARITY}),
            outcome("save", "delivered", "bb", size=1024, facts=facts),
        ],
        Path("out/model.xml"),
    )


def test_the_summary_tells_artifact_size_parity_weights_and_time():
    lines = dict(console.summary(finished(), 12.34))
    assert lines.pop("parity").startswith("worst relative error")
    assert lines == {
        "artifact": str(Path("out/model.xml")),
        "size": "1.0 KiB, 0.50x the source model's 2.0 KiB",
        "weights": "IMAGENET1K_V2",
        "time": "12.3 s; 5 stages: 3 from the store, 1 built, 1 delivered; 3.5 s saved",
    }


def test_the_summary_of_a_graph_that_delivers_nothing_says_so():
    lines = dict(console.summary(Result([outcome("export")], None), 1.0))
    assert lines["artifact"] == "none: no stage of this graph delivers one"
    assert lines["parity"].startswith("NOT CHECKED")
    assert set(lines) == {"artifact", "parity", "time"}


def test_a_run_is_told_line_by_line(caplog):
    shown = Console(began=0.0)
    with caplog.at_level(logging.INFO):
        shown.planned(
            [Step(Node(n, None, {}, {}, ONNX), todo) for n, todo in (("a", Todo.HIT), ("export", Todo.BUILD))]
        )
        shown.started("export")
        shown.finished(outcome("export"))
        shown.summary(finished(), "runs/1/run.json")
    assert caplog.messages[:2] == ["2 stages: 1 from the store, 1 to build", console.stage_line(outcome("export"))]
    assert caplog.messages[2] == "artifact  out/model.xml"
    assert caplog.messages[-1] == "record    runs/1/run.json"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_the_stage_under_way_is_shown_and_taken_away(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    shown = Console(began=0.0)
    shown.planned([Step(Node(n, None, {}, {}, ONNX), Todo.BUILD) for n in ("export", "compile", "save")])
    shown.started("export")
    shown.started("compile")
    shown.close()
    shown.close()
    assert "2/3  compile" in sys.stderr.getvalue()


def test_without_a_terminal_nothing_is_drawn(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    shown = Console(began=0.0)
    shown.started("export")
    shown.close()
    assert sys.stderr.getvalue() == ""


def test_a_line_goes_to_what_stderr_is_now(monkeypatch):
    handler = StderrHandler()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    handler.emit(logging.makeLogRecord({"msg": "hello"}))
    assert sys.stderr.getvalue() == "hello\n"


def test_each_line_of_a_job_among_others_begins_with_its_number(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    for number in (7, None):
        with console.named(number):
            StderrHandler().emit(logging.makeLogRecord({"msg": "two\nlines"}))
    assert sys.stderr.getvalue() == "job 7  two\njob 7  lines\ntwo\nlines\n"


def test_a_traceback_is_for_the_log_alone(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    record = logging.makeLogRecord({"msg": "it failed", "exc_info": (ValueError, ValueError("deep"), None)})
    StderrHandler().emit(record)
    assert sys.stderr.getvalue() == "it failed\n"
    assert "deep" in logging.Formatter().format(record)


def test_a_plan_is_broken_for_the_terminal_that_it_is_shown_on():
    why = "UNTRAINED: drawn at random with seed 0. For trained ones: model.weights=/path/to/weights.pth"
    steps = [Step(Node("load", None, {}, {}, Kind.MODULE), Todo.IDLE, why)]
    lines = console.plan_table(steps, 60).splitlines()
    assert max(map(len, lines)) <= 60
    assert {line[:13] for line in lines[1:]} == {" " * 13}


def test_the_summary_says_how_what_was_delivered_is_loaded():
    record = {"kind": "onnx", "checks": [], "facts": {}, "precision": {"compute": "float32"}}
    done = Result([outcome("save", "delivered")], Path("out/net.onnx"), record)
    (how,) = [text for name, text in console.summary(done, 1.0) if name == "load"]
    assert how.startswith('onnxruntime.InferenceSession("out/net.onnx"')


def test_the_summary_has_every_line_of_what_was_measured():
    measured = outcome("benchmark", notes={"benchmark": {"table": ["what was run", "openvino p50 7 ms"]}})
    lines = console.summary(Result([measured, outcome("save", "delivered")], None), 1.0)
    assert [text for name, text in lines if name == "benchmark"] == ["what was run", "openvino p50 7 ms"]
