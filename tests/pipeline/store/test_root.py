"""A store's folders: of the root's mode, or not there."""

import errno
import os
import stat

import pytest

from pipeline.store.root import Root
from tests.pipeline.conftest import CRASHED, exit_code, raising


@pytest.fixture
def root(tmp_path):
    """A root whose mode has bits that the umask removes."""
    path = tmp_path / "store"
    path.mkdir()
    path.chmod(0o775)
    before = os.umask(0o077)
    yield Root(path)
    os.umask(before)


def test_a_folder_is_of_the_roots_mode(root):
    folder = root.folder(root.path / "objects" / "ab")
    assert [stat.S_IMODE(p.stat().st_mode) for p in (folder, folder.parent)] == [0o775, 0o775]


def test_a_folder_that_cannot_get_its_mode_is_not_there(root, monkeypatch):
    monkeypatch.setattr("pathlib.Path.chmod", raising(PermissionError(errno.EPERM, "not permitted")))
    with pytest.raises(PermissionError):
        root.folder(root.path / "locks")
    assert list(root.path.iterdir()) == []


def test_a_death_before_a_folder_has_its_mode_shuts_nobody_out(root, monkeypatch):
    monkeypatch.setattr("pathlib.Path.chmod", lambda path, mode: os._exit(CRASHED))
    assert exit_code(lambda: root.folder(root.path / "locks")) == CRASHED
    assert not (root.path / "locks").exists()


def test_a_folder_that_another_run_makes_first_is_taken(root, monkeypatch):
    real = os.mkdir

    def overtaken(path, *args):
        real(path, *args)
        real(root.path / "locks")
        (root.path / "locks" / "theirs").write_text("")

    monkeypatch.setattr(os, "mkdir", overtaken)
    root.folder(root.path / "locks")
    monkeypatch.undo()
    assert [p.name for p in root.path.rglob("*")] == ["locks", "theirs"]
