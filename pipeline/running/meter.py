"""How long a stage took and how much memory the process held while it ran."""

from __future__ import annotations

import resource
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

INTERVAL_SECONDS = 0.02
_STATM = Path("/proc/self/statm")
# getrusage counts in KiB on Linux and in bytes on macOS.
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Meter:
    """Measures the block it surrounds.

    Attributes:
        seconds: Wall time.
        peak_bytes: The largest resident set of this process seen while the block ran. Exact when the block set the
            process's own high-water mark; otherwise sampled every 20 ms. The kernel's mark is never reset, since that
            would hide the peak from whoever measures this process from outside.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.peak_bytes = 0
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="memory meter", daemon=True)

    def __enter__(self) -> Self:
        self._mark = _high_water()
        self._began = time.perf_counter()
        self._sampler.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.seconds = time.perf_counter() - self._began
        self._done.set()
        self._sampler.join()
        if (mark := _high_water()) > self._mark:
            self.peak_bytes = mark

    def _sample(self) -> None:
        page = resource.getpagesize()
        while True:
            if not _STATM.exists():  # no such file but on Linux: the process's mark is all there is
                self.peak_bytes = _high_water()
            else:
                self.peak_bytes = max(self.peak_bytes, int(_STATM.read_text().split()[1]) * page)
            if self._done.wait(INTERVAL_SECONDS):
                return


def _high_water() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT
