"""How far a transfer is, said now and then where it takes long."""

from __future__ import annotations

import logging
import time

from pipeline import units
from pipeline.remote.bucket import Bucket

SAID_SECONDS = 5.0

log = logging.getLogger(__name__)


class Progress:
    """One transfer.

    Args:
        bucket: What counts the bytes.
        total: How many there are to move.
        done: What becomes of them: "downloaded", "uploaded".
    """

    def __init__(self, bucket: Bucket, total: int, done: str) -> None:
        self._bucket, self._total, self._done = bucket, total, done
        self._before = bucket.bytes_moved
        self._last = time.monotonic()

    def tick(self) -> None:
        """Says how far it is, if that was not said just now."""
        if time.monotonic() - self._last >= SAID_SECONDS:
            self._last = time.monotonic()
            count = min(self._bucket.bytes_moved - self._before, self._total)
            log.info("remote: %s of %s %s", units.size(count), units.size(self._total), self._done)
