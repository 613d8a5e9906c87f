"""run.json: what a run was made of, and what came of it."""

import errno
import json
from importlib.metadata import version

import pytest

from pipeline.errors import StageError
from pipeline.machine.installed import own_version
from pipeline.planning.plan import Step, Todo
from pipeline.running.outcome import Outcome, Result
from pipeline.runs.folders import read_run
from pipeline.runs.manifest import RunManifest
from tests.pipeline.conftest import raising


@pytest.fixture
def run(tmp_path):
    config, git = {"seed": 7, "opset": 18}, {"commit": "abc", "dirty": False}
    run = RunManifest(tmp_path / "runs" / "1" / "run.json", ["opset=18"], {"target": "onnx"})
    run.note_configuration(config, git)
    return run


def read(run):
    return json.loads(run.path.read_text())


def test_a_run_that_has_begun_says_so_and_what_it_was_asked(run):
    found = read(run)
    assert (found["status"], found["stages"]) == ("running", [])
    assert "ended" not in found
    assert found["config"] == {"seed": 7, "opset": 18}
    assert (found["seed"], found["overrides"], found["choices"]) == (7, ["opset=18"], {"target": "onnx"})


def test_a_run_is_recorded_with_the_versions_it_stands_on(run):
    run.planned([Step(None, Todo.HIT, key_document={"libraries": {"onnx": "1.21"}}), Step(None, Todo.BUILD)])
    run.finish(Result([], None))
    found = read(run)
    assert found["versions"]["onnx"] == "1.21"
    assert found["versions"]["omegaconf"] == version("omegaconf")
    assert found["drydock"] == own_version()
    assert found["git"] == {"commit": "abc", "dirty": False}
    assert found["environment"]["omegaconf"] == version("omegaconf")
    assert set(found["machine"]) == {"host", "system", "cpu", "instructions", "cores", "threads"}


def test_a_run_that_succeeded_names_its_artifact_and_every_stage(run, tmp_path):
    run.stage(Outcome("export", "hit", "aa"))
    run.finish(Result([Outcome("export", "built", "ab", "cd", 5), Outcome("save", "delivered", "ef")], tmp_path / "x"))
    found = read(run)
    assert (found["status"], found["artifact"]) == ("ok", str(tmp_path / "x"))
    assert [(s["name"], s["how"], s["digest"]) for s in found["stages"]] == [
        ("export", "built", "cd"),
        ("save", "delivered", None),
    ]
    assert found["ended"] >= found["started"]


def test_a_run_that_delivered_nothing_says_so(run):
    run.finish(Result([], None))
    assert read(run)["artifact"] is None


def test_a_run_keeps_the_record_of_what_it_delivered_in_its_order(run, tmp_path):
    run.finish(Result([], tmp_path / "x", {"stages": [{"inputs": {"b": 1, "a": 2}}]}))
    assert list(read(run)["record"]["stages"][0]["inputs"]) == ["b", "a"]


def test_a_run_that_failed_keeps_what_went_wrong_and_the_stages_before_it(run):
    run.stage(Outcome("export", "built", "aa"))
    run.stage(Outcome("check", "built", "bb"))
    run.stage(Outcome("export", "built", "cc"))
    run.fail(StageError("compile: no", command="look"), 3)
    found = read(run)
    assert (found["status"], found["exit_code"]) == ("failed", 3)
    assert found["problems"] == [{"what": "compile: no", "allowed": "", "command": "look"}]
    assert [(s["name"], s["key"]) for s in found["stages"]] == [("check", "bb"), ("export", "cc")]


def test_a_run_that_was_interrupted_is_no_failure(run):
    run.fail(None, 130)
    found = read(run)
    assert (found["status"], found["exit_code"], found["problems"]) == ("interrupted", 130, [])


def test_a_disk_that_is_full_is_told_and_how_the_run_ended_is_written_all_the_same(run, monkeypatch):
    full = raising(OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr("pipeline.runs.manifest.write_json", full)
    with pytest.raises(StageError, match="no space left for the run folder") as caught:
        run.started("export")
    run.fail(caught.value, caught.value.exit_code)
    found = read(run)
    assert (found["status"], found["stage"], found["exit_code"]) == ("failed", "export", 3)
    assert found["problems"][0]["what"].startswith("no space left")
    assert read_run(run.path.parent) is not None


def test_what_a_dead_run_had_half_written_in_the_same_folder_is_gone(tmp_path):
    (tmp_path / ".run.json.0123abcd").write_text("{")
    RunManifest(tmp_path / "run.json", [], {})
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
