"""Measures several contenders in turn, each in a process of its own, and computes their figures."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.errors import StageError
from pipeline.notes import noise
from stages.checking.contender import Job

LAST_WORDS = 5  # lines


class Contender:
    """A process that has loaded one model and run it once; it runs blocks of inferences on request.

    Args:
        name: Its name in messages and results.
        job: The job that it runs.
        folder: For its files.

    Attributes:
        ready: Its first answer: the times to prepare it, the type it computes in, its properties; or "refused" with
            the reason.
    """

    def __init__(self, name: str, job: Job, folder: Path) -> None:
        self.name = name
        self._errors = (folder / f"{name}.log").open("w+")
        path = folder / f"{name}.json"
        path.write_text(json.dumps(job))
        # It imports what this process can import, a model's code too, and nothing from the current folder.
        paths = os.pathsep.join(p or str(Path.cwd()) for p in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "stages.checking.contender", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
        try:
            self.ready = self._answer()
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def block(self, seconds: float, warmup: int) -> Mapping[str, Any]:
        """A block's times in milliseconds as "ms", and "peak_bytes" so far. Raises StageError when it has died."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"seconds": seconds, "warmup": warmup}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer that does not come says so
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = self._process.wait()
        self._errors.seek(0)
        words = [line for line in self._errors.read().splitlines() if line.strip()][-LAST_WORDS:]
        raise StageError(
            f"the contender '{self.name}' died with {code}: " + ("\n    ".join(words) or "it said nothing"),
            command=f"stages.NAME.against=[…] without {self.name}, or more memory",
        )


@dataclass(frozen=True)
class Figures:
    """Statistics of one contender's times.

    Args:
        p50_ms, p90_ms, p99_ms: Milliseconds that this share of inferences took at most, over all blocks.
        items_per_second: Items of all inferences by the time of all.
        inferences: How many were timed.
        block_p50_ms: The median of each block, in milliseconds.
        spread: Largest difference between the medians of two blocks, as a share of the median of the medians.
        noisy: Whether that is above what was allowed; see `pipeline.notes.noise`.
    """

    p50_ms: float
    p90_ms: float
    p99_ms: float
    items_per_second: float
    inferences: int
    block_p50_ms: list[float]
    spread: float
    noisy: bool

    @classmethod
    def from_blocks(cls, blocks: Sequence[Sequence[float]], items: int, noisy_above: float) -> Self:
        """Computes them from one contender's blocks of milliseconds, with `items` in each inference."""
        times = sorted(t for block in blocks for t in block)
        medians = [statistics.median(block) for block in blocks]
        spread = (max(medians) - min(medians)) / statistics.median(medians)
        p50, p90, p99 = (times[math.ceil(len(times) * share / 100) - 1] for share in (50, 90, 99))
        return cls(
            p50_ms=p50,
            p90_ms=p90,
            p99_ms=p99,
            items_per_second=items * len(times) / (sum(times) / 1e3),
            inferences=len(times),
            block_p50_ms=medians,
            spread=spread,
            noisy=spread > noisy_above,
        )

    @property
    def plain(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


def in_turn(
    contenders: Sequence[Contender], rounds: int, seconds: float, warmup: int
) -> tuple[dict[str, list[list[float]]], dict[str, int]]:
    """Blocks of each contender's times, and its peak memory in bytes, by name.

    Runs a block of each contender in turn, again and again, so that a machine that slows down affects all of them.
    """
    blocks: dict[str, list[list[float]]] = {c.name: [] for c in contenders}
    peaks: dict[str, int] = {}
    for _ in range(rounds):
        for contender in contenders:
            answer = contender.block(seconds, warmup)
            blocks[contender.name].append(answer["ms"])
            peaks[contender.name] = answer["peak_bytes"]
    return blocks, peaks


def claim(text: str, compared: str, measurements: Mapping[str, Mapping[str, Any]]) -> str:
    """A benchmark's line: the comparison with eager PyTorch is left out where either figure is noisy.

    Args:
        text: The artifact's own figures.
        compared: How they compare; empty where nothing was measured beside them.
        measurements: Figures by contender, the artifact's first.
    """
    noisy = {name: why for name, figures in measurements.items() if (why := noise(figures))}
    ours = next(iter(measurements))
    says = text + ("" if {ours, "eager"} & noisy.keys() else compared)
    return says + (f"; NOISY: {'; '.join(f'{n} {why}' for n, why in noisy.items())}" if noisy else "")
