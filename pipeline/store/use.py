"""Which results a run uses, so that nobody removes them meanwhile; and when each result was last used.

A result in use has a shared lock on its facts' file. The kernel frees it when the run dies, however it dies. A process
that removes or moves a result first takes that lock exclusively, and leaves the result alone where it cannot. The file
is in the result's own folder, so that a result that was removed and built again has another lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.store.root import Root

PLACE = "used"
STALE_SECONDS = 3600.0  # a use is noted again after this time
PATIENCE_SECONDS = 1.0  # somebody else's lock may be held for ever
LONGEST = 4096  # bytes of names in a note
NAME = re.compile(r"[^\s\0]{1,100}\t[^\s\0]{1,100}")


class InUse(Exception):
    """A result may be in use: a run has its lock, or its file system has no locks."""


class Uses:
    """The results that one run uses.

    Args:
        root: The store's folder.
    """

    def __init__(self, root: Root) -> None:
        self._root = root
        self._locks: dict[str, int] = {}
        self._early: list[int] = []  # of results that are not published yet, or are no longer there
        self._one_thread = threading.Lock()

    def begin(self, facts: Path) -> None:
        """Keeps others from removing a result that will be published, by a lock on its facts' file."""
        if (lock := shared(facts)) is not None:
            with self._one_thread:
                self._early.append(lock)

    def add(self, digest: str, facts: Path) -> None:
        """Keeps others from removing a result, and notes its use. The caller checks afterwards whether it is there.

        Args:
            digest: The result's digest.
            facts: The result's facts' file.
        """
        with self._one_thread:
            self._note(digest)
            if digest in self._locks:
                if _is_at(self._locks[digest], facts):
                    return
                self._early.append(self._locks.pop(digest))
            lock = next((lock for lock in self._early if _is_at(lock, facts)), None)
            if lock is not None:
                self._early.remove(lock)
            elif (lock := shared(facts)) is None:
                return
            self._locks[digest] = lock

    def end(self) -> None:
        """Lets others remove what was used."""
        with self._one_thread:
            for lock in (*self._locks.values(), *self._early):
                with contextlib.suppress(OSError):
                    fcntl.flock(lock, fcntl.LOCK_UN)  # a forked process may have it open for longer
                os.close(lock)
            self._locks.clear()
            self._early.clear()

    def _note(self, digest: str) -> None:
        """Sets the time of the last use, at most once in STALE_SECONDS. Does nothing in a store that is only read."""
        path = self._root.path / PLACE / digest
        with contextlib.suppress(OSError):
            try:
                if time.time() - path.lstat().st_mtime > STALE_SECONDS:
                    os.utime(path, follow_symlinks=False)
            except FileNotFoundError:
                _create(self._root, path)


def names_of(text: str) -> list[tuple[str, str]]:
    """The models, each with its target, that the text of a note names."""
    return [(m, t) for m, _, t in (line.partition("\t") for line in text.splitlines() if NAME.fullmatch(line))]


def name(root: Root, digest: str, model: str, target: str) -> None:
    """Notes for which model and target a result is, where `list` shows it. Raises OSError."""
    line = "\t".join(re.sub(r"\s", "_", text) for text in (model, target))
    path = root.path / PLACE / digest
    text = read_note(path)
    if not NAME.fullmatch(line) or line in text.splitlines() or len(text) + len(line) > LONGEST:
        return
    note = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(note, f"{line}\n".encode())
    finally:
        os.close(note)


def read_note(path: Path) -> str:
    """The text of a note; empty where there is none that can be read."""
    try:
        note = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(note, LONGEST).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(note)


@contextlib.contextmanager
def alone(facts: Path) -> Iterator[None]:
    """Locks a result exclusively in the block: nobody uses it, and nobody can begin to.

    Args:
        facts: The result's facts' file.

    Raises:
        InUse: Where somebody uses it, or the file system has no locks.
        FileNotFoundError: Where there is no such result.
    """
    lock = os.open(facts, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise InUse(str(facts)) from e
        if not _is_at(lock, facts):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(facts))
        yield
    finally:
        os.close(lock)


def shared(path: Path) -> int | None:
    """A descriptor with a shared lock on the file at a path; None where there is no file, or the lock cannot be had."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.001)
                continue
        except OSError:
            pass
        else:
            if _is_at(lock, path):
                return lock
        os.close(lock)
        return None


def _is_at(lock: int, path: Path) -> bool:
    """Whether an open file is the one that a path leads to."""
    try:
        there, mine = path.lstat(), os.fstat(lock)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def _create(root: Root, path: Path) -> None:
    """Makes a note whose time all users of the store may set. Raises OSError."""
    mode = root.mode(0o666)
    root.folder(path.parent)
    note = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        os.fchmod(note, mode)
    finally:
        os.close(note)
