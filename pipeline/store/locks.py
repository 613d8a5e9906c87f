"""One builder per key. A lock saves duplicate work; nothing is wrong when it fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

# How often a waiting run says that it waits.
PATIENCE_SECONDS = 10.0


class Lock:
    """The lock of one key. The kernel frees it when its holder dies, however it dies.

    Args:
        path: The lock's file, which stays.
        what: Names the lock to a person who waits.
        explained: Surrounds what touches the disk, to turn its errors into ours.
        mode: Who may take it, whatever the umask; -1 for what that says.
    """

    def __init__(
        self, path: Path, what: str, explained: Callable[[], AbstractContextManager[None]], mode: int = -1
    ) -> None:
        with explained():
            path.parent.mkdir(exist_ok=True)
        self._lock = FileLock(path, mode=mode)
        self._what = what
        self._explained = explained

    def try_acquire(self) -> bool:
        """Takes the lock if nobody holds it."""
        return self._acquired_within(0.0)

    def acquire(self) -> None:
        """Waits for the lock, saying so now and then."""
        while not self._acquired_within(PATIENCE_SECONDS):
            log.info("%s: another run is building it; waiting", self._what)

    def _acquired_within(self, seconds: float) -> bool:
        with self._explained():
            try:
                self._lock.acquire(timeout=seconds, poll_interval=0.05)
            except Timeout:
                return False
        return True

    def release(self) -> None:
        """Frees the lock; harmless when it is not held."""
        self._lock.release(force=True)
