"""Reports the progress of a long transfer from time to time."""

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
        bucket: The bucket, which counts the bytes.
        total: The bytes to transfer.
        done: The verb: "downloaded", "uploaded".
    """

    def __init__(self, bucket: Bucket, total: int, done: str) -> None:
        self._bucket, self._total, self._done = bucket, total, done
        self._before = bucket.bytes_moved
        self._last = time.monotonic()

    def tick(self) -> None:
        """Reports the progress, unless it did so just now."""
        if time.monotonic() - self._last >= SAID_SECONDS:
            self._last = time.monotonic()
            count = min(self._bucket.bytes_moved - self._before, self._total)
            log.info("remote: %s of %s %s", units.size(count), units.size(self._total), self._done)
