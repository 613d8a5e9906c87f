"""Whole processes, timed from outside."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Measured:
    """One process: wall time in seconds, peak resident memory and bytes written, as the kernel accounts for them.

    Written are the pages of files that it changed, whether or not the files were still there at the end.
    """

    seconds: float
    peak_bytes: int
    written_bytes: int


def measure(command: Sequence[str], folder: Path) -> Measured:
    """Runs a command in a folder. Raises RuntimeError with what it printed when it fails."""
    with (folder / "output.log").open("w+") as output:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{output.read()}")
    return Measured(seconds, usage.ru_maxrss * MAXRSS_UNIT, usage.ru_oublock * 512)


def median(runs: Sequence[Measured]) -> Measured:
    """The median of each figure."""
    seconds = statistics.median(r.seconds for r in runs)
    peak, written = (
        int(statistics.median(figures))
        for figures in zip(*((r.peak_bytes, r.written_bytes) for r in runs), strict=True)
    )
    return Measured(seconds, peak, written)


@contextlib.contextmanager
def silent(folder: Path) -> Iterator[None]:
    """Sends what this process prints from here on to a file, what C++ prints too: for one that does nothing else."""
    with (folder / "output.log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        yield
