"""What can go wrong, and the exit code that each outcome promises.

DrydockError            1   a bug of ours; every class below is an expected outcome
├── ConfigError         2   the request cannot be carried out: a key, a value, a file, the graph, the store
├── StageError          3   a stage failed
│   └── Stopped         3   it was ended from outside: time, memory, disk
├── BackendMissing      4   a library that the plan needs is not installed, or a GPU not there
└── CheckFailed         5   an artifact does not agree with the PyTorch model

A sweep with failures ends with 6 and an interrupted run with 130; neither is an exception of its own.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace

OK, BUG, USAGE, STAGE_FAILED, BACKEND_MISSING, CHECK_FAILED, SWEEP_FAILED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130


@dataclass(frozen=True)
class Problem:
    """One thing to correct.

    Args:
        what: A sentence with the place and the value found, such as "stages.export.opset is 17".
        allowed: The values that are accepted.
        command: The next command to type, or the next step.
    """

    what: str
    allowed: str = ""
    command: str = ""

    def at(self, place: str) -> Problem:
        """The same problem with `place` put before its sentence."""
        return replace(self, what=f"{place}{self.what}")

    def __str__(self) -> str:
        lines = [self.what]
        if self.allowed:
            lines.append(f"  allowed: {self.allowed}")
        if self.command:
            lines.append(f"  try:     {self.command}")
        return "\n".join(lines)


class DrydockError(Exception):
    """An outcome with an exit code and one or more problems, each ready to be shown to a person."""

    exit_code = BUG

    def __init__(self, what: str | Problem | Iterable[Problem], *, allowed: str = "", command: str = "") -> None:
        if isinstance(what, str):
            what = Problem(what, allowed, command)
        self.problems = (what,) if isinstance(what, Problem) else tuple(what)
        super().__init__("\n".join(map(str, self.problems)))


class ConfigError(DrydockError):
    """The request cannot be carried out; reported before any work where that is possible."""

    exit_code = USAGE


class StageError(DrydockError):
    """A stage failed; the vendor's own exception is its cause."""

    exit_code = STAGE_FAILED


class Stopped(StageError):
    """A stage was ended from outside, by a limit, the disk or the system; it may well succeed another time."""


class BackendMissing(DrydockError):
    """A library or a device that the plan needs is not there."""

    exit_code = BACKEND_MISSING


class CheckFailed(DrydockError):
    """An artifact does not agree with the PyTorch model that it was converted from."""

    exit_code = CHECK_FAILED


def listed(items: Iterable[str], limit: int = 10) -> str:
    """`a, b, c` with at most `limit` items, and how many more there are."""
    names = list(items)
    more = f" … and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def nearest(name: str, options: Iterable[str]) -> str:
    """ ", did you mean 'x'?" for the option that is closest to a name; empty when none is close."""
    close = difflib.get_close_matches(name, list(options), n=1)
    return f", did you mean '{close[0]}'?" if close else ""
