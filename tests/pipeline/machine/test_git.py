"""git's state of a checkout: its commit, and the changes that no commit has."""

import subprocess

import pytest

from pipeline.errors import ConfigError
from pipeline.machine import git as gits
from pipeline.machine.git import refuse_changes, state
from pipeline.store.files import sha256


class World:
    """Hashes files."""

    digest = staticmethod(sha256)


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
    result = subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True)
    return result.stdout.strip()


def commit(folder):
    git("init", "--quiet", "--initial-branch=trunk")
    (folder / "model.py").write_text("x = 1")
    git("add", ".")
    git("commit", "--quiet", "--message=first")


def test_outside_a_repository_there_is_no_commit(repository):
    assert state(World()) is None


def test_without_git_there_is_no_commit(repository, monkeypatch):
    commit(repository)
    monkeypatch.setenv("PATH", str(repository))
    assert state(World()) is None


def test_a_clean_checkout_is_named_by_its_commit_and_branch(repository):
    commit(repository)
    assert state(World()) == {"commit": git("rev-parse", "HEAD"), "branch": "trunk", "dirty": False}


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
    checkout = state(World())
    assert checkout["dirty"] is True
    assert len(checkout["diff"]) == 64


def test_the_state_is_that_of_the_whole_repository_from_a_folder_within(repository, monkeypatch):
    commit(repository)
    (repository / "below").mkdir()
    edited(repository)
    untracked(repository)
    above = state(World())
    monkeypatch.chdir(repository / "below")
    assert state(World()) == above


def test_a_detached_checkout_still_has_a_commit(repository):
    commit(repository)
    git("checkout", "--quiet", "--detach")
    assert state(World()) == {"commit": git("rev-parse", "HEAD"), "branch": "(detached)", "dirty": False}


@pytest.mark.parametrize("change", [edited, staged, untracked], ids=lambda f: f.__name__)
def test_the_same_changes_have_one_digest_and_others_another(repository, change):
    commit(repository)
    change(repository)
    first = state(World())["diff"]
    assert state(World())["diff"] == first
    for path in repository.glob("*.py"):
        path.write_text("x = 3")
    assert state(World())["diff"] != first


def test_of_what_is_large_or_many_name_and_size_must_do(repository, monkeypatch):
    commit(repository)
    (repository / "weights.bin").write_bytes(b"abc")
    monkeypatch.setattr(gits, "LARGEST", 2)
    before = state(World())["diff"]
    (repository / "weights.bin").write_bytes(b"abd")
    assert state(World())["diff"] == before
    (repository / "weights.bin").write_bytes(b"abcd")
    assert state(World())["diff"] != before


def test_what_runs_write_is_no_change(repository):
    commit(repository)
    (repository / "runs" / "1").mkdir(parents=True)
    (repository / "runs" / "1" / "run.json").write_text("{}")
    assert state(World())["dirty"] is True
    assert state(World(), [repository / "runs"])["dirty"] is False


def test_a_clean_checkout_is_not_refused(repository):
    commit(repository)
    refuse_changes(state(World()))


def test_a_checkout_with_changes_is_refused_and_they_are_named(repository):
    commit(repository)
    edited(repository)
    with pytest.raises(ConfigError, match=r"model\.py"):
        refuse_changes(state(World()))


def test_where_there_is_no_git_nothing_is_known_to_be_clean(repository):
    with pytest.raises(ConfigError, match="in no git repository"):
        refuse_changes(state(World()))
