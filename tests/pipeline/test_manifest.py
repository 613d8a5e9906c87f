"""run.json: what a run was made of, and what came of it."""

import json
import subprocess
from importlib.metadata import version

import pytest

from pipeline import manifest
from pipeline.errors import StageError
from pipeline.installed import own_version
from pipeline.manifest import RunManifest
from pipeline.plan import Step, Todo
from pipeline.runner import Outcome, Result


@pytest.fixture
def run(tmp_path):
    return RunManifest(tmp_path / "runs" / "1" / "run.json", {"seed": 7, "opset": 18}, ["opset=18"], {"target": "onnx"})


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
    assert set(found["machine"]) == {"host", "system", "cpu", "instructions", "cores"}


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


@pytest.fixture
def repository(tmp_path, monkeypatch):
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in [n for n in __import__("os").environ if n.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return folder


def git(*arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null"]
    told = subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True)
    return told.stdout.strip()


def commit(folder):
    git("init", "--quiet", "--initial-branch=trunk")
    (folder / "model.py").write_text("x = 1")
    git("add", ".")
    git("commit", "--quiet", "--message=first")


def test_outside_a_repository_there_is_no_commit(repository):
    assert manifest.git_state() is None


def test_without_git_there_is_no_commit(repository, monkeypatch):
    commit(repository)
    monkeypatch.setenv("PATH", str(repository))
    assert manifest.git_state() is None


def test_a_clean_checkout_is_named_by_its_commit_and_branch(repository):
    commit(repository)
    assert manifest.git_state() == {"commit": git("rev-parse", "HEAD"), "branch": "trunk", "dirty": False}


def edited(folder):
    (folder / "model.py").write_text("x = 2")


def staged(folder):
    edited(folder)
    git("add", ".")


def untracked(folder):
    (folder / "new.py").write_text("")


def removed(folder):
    (folder / "model.py").unlink()


@pytest.mark.parametrize("change", [edited, staged, untracked, removed], ids=lambda f: f.__name__)
def test_any_change_makes_a_checkout_dirty(repository, change):
    commit(repository)
    change(repository)
    assert manifest.git_state()["dirty"] is True


def test_the_state_is_that_of_the_whole_repository_from_a_folder_within(repository, monkeypatch):
    commit(repository)
    (repository / "below").mkdir()
    edited(repository)
    monkeypatch.chdir(repository / "below")
    assert manifest.git_state()["dirty"] is True


def test_a_detached_checkout_still_has_a_commit(repository):
    commit(repository)
    git("checkout", "--quiet", "--detach")
    assert manifest.git_state() == {"commit": git("rev-parse", "HEAD"), "branch": "(detached)", "dirty": False}
