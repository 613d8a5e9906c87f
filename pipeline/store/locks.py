"""One builder per key. A lock saves duplicate work; a result is right without it too."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline import disk
from pipeline.store.files import hidden, remove

log = logging.getLogger(__name__)

# How often a waiting run says that it waits.
PATIENCE_SECONDS = 10.0


class Lock:
    """The lock of one key. The kernel frees it when its holder dies, however it dies.

    Where the file system has no locks, every lock can be acquired, and none is `is_locked`.

    Args:
        path: The lock's file, which stays.
        what: Names the lock to a person who waits.
        explained: Surrounds what touches the disk, to turn its errors into ours.
        mode: The mode of its file, whatever the umask; -1 for what the umask gives.
    """

    def __init__(
        self, path: Path, what: str, explained: Callable[[], AbstractContextManager[None]], mode: int = -1
    ) -> None:
        with explained():
            path.parent.mkdir(exist_ok=True)
        self._path = path
        self._mode = mode
        self._lock = FileLock(path, mode=mode)
        self._what = what
        self._explained = explained

    @property
    def is_locked(self) -> bool:
        """Whether this process holds it, so that nobody else can."""
        return self._lock.is_locked

    def try_acquire(self) -> bool:
        """Takes the lock if nobody holds it."""
        return self._acquired_within(0.0)

    def acquire(self) -> None:
        """Waits for the lock, saying so now and then."""
        while not self._acquired_within(PATIENCE_SECONDS):
            log.info("%s: another run is building it; waiting", self._what)

    def _acquired_within(self, seconds: float) -> bool:
        with self._explained():
            self._create()
            try:
                self._lock.acquire(timeout=seconds, poll_interval=0.05)
            except Timeout:
                return False
            except OSError as e:
                if e.errno not in disk.NO_LOCKS:
                    raise
                _warn(self._path.parent, e.strerror)
        return True

    def _create(self) -> None:
        """Makes the lock's file with its mode in one step, so that a process that dies here shuts nobody out."""
        if self._mode == -1 or self._path.exists():
            return
        with hidden(self._path, self._mode) as beside:
            disk.chmod(beside, self._mode)
            with suppress(FileExistsError):  # where there are no links, filelock makes it
                disk.link(beside, self._path)

    def release(self) -> None:
        """Frees the lock. It may be free already, and an error does no harm: the kernel frees it in the end."""
        with suppress(OSError):
            self._lock.release(force=True)

    def remove(self) -> None:
        """Frees the lock and removes its file: for a lock that nobody waits for."""
        remove(self._path)
        self.release()


@functools.cache  # once for each place
def _warn(folder: Path, why: str) -> None:
    log.warning("%s: its file system has no locks (%s): runs side by side may do the same work twice", folder, why)
