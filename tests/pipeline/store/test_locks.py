"""One builder per key, and a lock that outlives nobody."""

import errno
import logging
import os
import signal
import threading
from contextlib import contextmanager, nullcontext

import pytest

from pipeline.errors import ConfigError
from pipeline.store import locks
from pipeline.store.locks import Lock
from tests.pipeline.conftest import child, raising


@pytest.fixture
def path(tmp_path):
    return tmp_path / "locks" / "key.lock"


def lock_of(path):
    return Lock(path, "export", nullcontext)


def held_by_another(path):
    """A process that has a lock until it is killed."""
    reading, writing = os.pipe()

    def hold():
        lock = lock_of(path)
        lock.acquire()
        os.write(writing, b"x")
        signal.pause()

    process = child(hold)
    process.start()
    os.read(reading, 1)
    return process


def test_a_lock_has_one_holder(path):
    first, second = lock_of(path), lock_of(path)
    assert first.try_acquire()
    assert not second.try_acquire()


def test_another_key_is_another_lock(path):
    first, second = lock_of(path), lock_of(path.with_name("other.lock"))
    assert first.try_acquire()
    assert second.try_acquire()


def test_a_released_lock_is_free(path):
    first, second = lock_of(path), lock_of(path)
    first.acquire()
    first.release()
    assert second.try_acquire()


def test_releasing_what_is_not_held_is_harmless(path):
    holder, other = lock_of(path), lock_of(path)
    holder.acquire()
    other.release()
    assert not other.try_acquire()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_process_that_died_is_free(path, end):
    process, ours = held_by_another(path), lock_of(path)
    assert not ours.try_acquire()
    os.kill(process.pid, end)
    process.join()
    assert ours.try_acquire()


def test_who_waits_says_for_what_and_gets_the_lock_in_the_end(path, monkeypatch, caplog):
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.01)
    process, ours = held_by_another(path), lock_of(path)
    said = threading.Event()
    monkeypatch.setattr(locks.log, "info", lambda *a: (logging.getLogger("said").warning(*a), said.set()))
    killer = threading.Thread(target=lambda: (said.wait(10), process.kill()))
    killer.start()
    ours.acquire()
    killer.join()
    process.join()
    assert "export: another run is building it; waiting" in caplog.text
    assert not lock_of(path).try_acquire()


def test_what_a_lock_file_holds_does_not_matter(path):
    path.parent.mkdir()
    path.write_bytes(b"\xffgarbage from a power loss")
    assert lock_of(path).try_acquire()


@contextmanager
def explained():
    try:
        yield
    except OSError as e:
        raise ConfigError(f"explained: {e.strerror}") from e


@pytest.mark.parametrize("take", [Lock.try_acquire, Lock.acquire], ids=lambda f: f.__name__)
def test_a_lock_that_cannot_be_made_is_explained(path, monkeypatch, take):
    lock = Lock(path, "export", explained)
    monkeypatch.setattr(os, "open", raising(OSError(errno.EACCES, "not yours")))
    with pytest.raises(ConfigError, match="explained: not yours"):
        take(lock)


def test_a_folder_for_locks_that_cannot_be_made_is_explained(path):
    path.parent.write_text("a file in the way")
    with pytest.raises(ConfigError, match="explained: "):
        Lock(path, "export", explained)
