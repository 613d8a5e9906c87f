"""store/litter.py: what lives is never taken for dead; the rest is in test_store and in `make chaos`."""

from __future__ import annotations

import contextlib
import uuid

import pytest

from pipeline.store import litter
from pipeline.store.locks import Lock


@pytest.fixture
def mark(tmp_path):
    """A mark as it is for a moment: its file is there, and its lock is not taken yet."""
    for name in ("staging", litter.MARKS):
        (tmp_path / name).mkdir()
    path = tmp_path / litter.MARKS / f"staging-{uuid.uuid4().hex}.lock"
    path.touch()
    return path


def test_a_mark_that_is_taken_during_a_sweep_is_there_after_it(tmp_path, mark, monkeypatch):
    own, tried = Lock(mark, "mine", contextlib.nullcontext), []

    def meanwhile(folder):
        tried.append(own.try_acquire())
        return True

    monkeypatch.setattr(litter, "remove_dead", meanwhile)
    litter.sweep(tmp_path)
    assert tried
    assert not any(tried)
    own.acquire()
    building = tmp_path / "staging" / mark.stem.partition("-")[2]
    building.mkdir()
    litter.sweep(tmp_path)
    assert mark.exists()
    assert building.is_dir()


def test_what_the_dead_left_goes_with_its_mark(tmp_path, mark):
    (tmp_path / "staging" / mark.stem.partition("-")[2]).mkdir()
    litter.sweep(tmp_path)
    assert list(tmp_path.glob("staging/*")) == []
    assert not mark.exists()


def test_the_name_that_a_mark_was_made_under_goes_too(tmp_path, mark):
    (mark.parent / f".{mark.name}.0123abcd").hardlink_to(mark)
    litter.sweep(tmp_path)
    assert list(mark.parent.iterdir()) == []
