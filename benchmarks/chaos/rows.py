"""What came of each trial, kept in a file, so that a campaign goes on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import commit
from benchmarks.chaos.campaign import Verdict

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "build" / "chaos.jsonl"


class Rows:
    """The verdicts of this commit and seed. What was tried at another commit is tried again.

    Args:
        file: Where they are kept; None for nowhere.
        seed: Of the sample.
    """

    def __init__(self, file: Path | None, seed: int) -> None:
        self._file = file
        self._of = {"commit": commit.checked_out(), "seed": seed}
        self.verdicts: dict[str, Verdict] = {}
        self.seconds = 0.0  # that earlier parts of the campaign took
        for row in self._read():
            if "seconds" in row:
                self.seconds += row["seconds"]
            else:
                self.verdicts[row["name"]] = Verdict(row["name"], row["struck"], row["wrong"])

    def add(self, verdict: Verdict) -> None:
        """Keeps a verdict."""
        self.verdicts[verdict.name] = verdict
        self._write(asdict(verdict))

    def took(self, seconds: float) -> None:
        """Keeps how long a part of the campaign took."""
        self._write({"seconds": seconds})

    def _read(self) -> Iterator[dict[str, Any]]:
        if self._file is None or not self._file.exists():
            return
        for line in self._file.read_text().splitlines():
            row = json.loads(line)
            if {key: row.pop(key) for key in self._of} == self._of:
                yield row

    def _write(self, row: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a") as file:
                file.write(json.dumps(self._of | row) + "\n")
