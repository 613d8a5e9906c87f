"""One builder per key. A lock saves duplicate work; nothing is wrong when it fails."""

from __future__ import annotations

import logging
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

# How often a waiting run says that it waits.
PATIENCE_SECONDS = 10.0


class Lock:
    """The lock of one key. The kernel frees it when its holder dies, however it dies."""

    def __init__(self, path: Path, what: str) -> None:
        path.parent.mkdir(exist_ok=True)
        self._lock = FileLock(path)
        self._what = what

    def try_acquire(self) -> bool:
        """Takes the lock if nobody holds it."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def acquire(self) -> None:
        """Waits for the lock, saying so now and then."""
        while True:
            try:
                self._lock.acquire(timeout=PATIENCE_SECONDS, poll_interval=0.05)
            except Timeout:
                log.info("%s: another run is building it; waiting", self._what)
            else:
                return

    def release(self) -> None:
        """Frees the lock; harmless when it is not held."""
        self._lock.release(force=True)
