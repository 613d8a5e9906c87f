"""store/use.py: nobody can remove a result that a run uses; it is free when the run ends in any way."""

import errno
import fcntl
import os
import signal
import time

import pytest

from pipeline.store import State, Store, use
from pipeline.store.store import FACTS
from tests.pipeline.conftest import child
from tests.pipeline.store.test_store import publish


def is_free(folder):
    try:
        with use.alone(folder / FACTS):
            return True
    except use.InUse:
        return False


def test_what_is_looked_up_in_a_block_is_in_use_until_its_end(store):
    artifact = publish(store)
    assert is_free(artifact.folder)
    with store.keeping():
        assert store.state(artifact.digest) is State.PRESENT
        assert not is_free(artifact.folder)
    assert is_free(artifact.folder)


def test_what_is_published_is_in_use_before_anybody_else_sees_it(store, monkeypatch):
    seen = []
    real = type(store.objects)._move
    monkeypatch.setattr(
        type(store.objects),
        "_move",
        lambda objects, staged, *more: seen.append(is_free(staged)) or real(objects, staged, *more),
    )
    with store.keeping():
        artifact = publish(store)
        assert (seen, is_free(artifact.folder)) == ([False], False)
    assert is_free(artifact.folder)


def test_a_result_that_was_removed_and_built_again_is_in_use_as_well(store):
    first = publish(store)
    with store.keeping():
        store.state(first.digest)
        store.objects.withdraw(first.folder, store.root / "gone")
        assert store.state(first.digest) is State.ABSENT
        again = publish(store)
        assert not is_free(again.folder)
    assert is_free(again.folder)


def test_a_result_of_a_store_that_is_looked_into_is_in_use_there(store, tmp_path):
    artifact = publish(store)
    above = Store(tmp_path / "above", store.root)
    with above.keeping():
        assert above.state(artifact.digest) is State.PRESENT
        assert not is_free(artifact.folder)
    assert not (store.root / use.PLACE).exists()


def test_what_a_run_used_that_was_killed_is_free(store):
    artifact = publish(store)

    def die():
        with store.keeping():
            store.state(artifact.digest)
            os.kill(os.getpid(), signal.SIGKILL)

    process = child(die)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert is_free(artifact.folder)


def test_somebody_who_keeps_a_result_for_himself_delays_a_run_and_does_not_stop_it(store, monkeypatch):
    monkeypatch.setattr(use, "PATIENCE_SECONDS", 0.01)
    artifact = publish(store)
    with use.alone(artifact.folder / FACTS), store.keeping():
        assert store.state(artifact.digest) is State.PRESENT


def test_where_there_are_no_locks_nothing_can_be_had_alone(store, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    artifact = publish(store)
    monkeypatch.setattr(fcntl, "flock", flock)
    assert not is_free(artifact.folder)
    with store.keeping():
        assert store.state(artifact.digest) is State.PRESENT


def test_a_use_is_noted_once_an_hour_and_names_are_added_once(store):
    artifact = publish(store)
    note = store.root / use.PLACE / artifact.digest
    with store.keeping():
        store.state(artifact.digest)
    os.utime(note, (0, time.time() - use.STALE_SECONDS / 2))
    at = note.stat().st_mtime_ns
    for _ in range(2):
        with store.keeping():
            store.state(artifact.digest)
        store.name([artifact.digest], "my net", "onnx")
    assert use.names_of(use.read_note(note)) == [("my_net", "onnx")]
    os.utime(note, ns=(0, at))
    with store.keeping():
        store.state(artifact.digest)
    assert note.stat().st_mtime_ns == at
    os.utime(note, (0, time.time() - 2 * use.STALE_SECONDS))
    with store.keeping():
        store.state(artifact.digest)
    assert time.time() - note.stat().st_mtime < use.STALE_SECONDS


@pytest.mark.parametrize("spoil", [lambda p: p.symlink_to("/etc/hostname"), os.mkfifo, lambda p: p.mkdir()])
def test_a_note_that_is_something_else_harms_nobody(store, spoil):
    artifact = publish(store)
    (store.root / use.PLACE).mkdir()
    spoil(store.root / use.PLACE / artifact.digest)
    with store.keeping():
        assert store.state(artifact.digest) is State.PRESENT
    store.name([artifact.digest], "net", "onnx")
    assert use.read_note(store.root / use.PLACE / artifact.digest) == ""
