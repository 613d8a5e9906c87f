"""Whether a file system will do for a store is found out by trying."""

import errno
import fcntl
import os

import pytest

from pipeline.errors import ConfigError, StageError
from pipeline.store import trial
from tests.pipeline.conftest import raising


def test_a_file_system_that_will_do_is_left_as_it_was(store):
    trial.trial(store)
    assert [list((store.root / folder).iterdir()) for folder in ("staging", "marks")] == [[], []]


def test_locks_that_another_process_does_not_heed_are_refused(store, tmp_path, monkeypatch):
    """As on a network disk that is mounted without locks: the other process gets every lock."""
    (tmp_path / "sitecustomize.py").write_text("import fcntl\nfcntl.flock = lambda *asked: None\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with pytest.raises(ConfigError, match="gives a lock to two processes at once") as caught:
        trial.trial(store)
    assert "store=/a/local/folder" in caught.value.problems[0].command


@pytest.mark.parametrize(
    ("module", "name", "code", "words"),
    [(os, "link", errno.EPERM, "no hard links"), (fcntl, "flock", errno.ENOLCK, "no locks")],
)
def test_what_a_file_system_lacks_that_costs_time_alone_is_told(store, monkeypatch, module, name, code, words):
    monkeypatch.setattr(module, name, raising(OSError(code, "not here")))
    (lacks,) = trial.trial(store)
    assert lacks.startswith(words)


def test_a_disk_that_fails_is_told_as_such(store, monkeypatch):
    monkeypatch.setattr(os, "link", raising(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(StageError, match=f"store={store.root} failed: Input/output error"):
        trial.trial(store)


@pytest.mark.parametrize(
    ("answers", "words"),
    [([True], "two processes at once"), ([False, False], "does not give a lock that was released")],
)
def test_what_the_other_process_says_decides(store, monkeypatch, answers, words):
    monkeypatch.setattr(trial, "_another_gets", lambda path: answers.pop(0))
    with pytest.raises(ConfigError, match=words):
        trial.trial(store)
