"""Makes docs/reliability.md: what is promised, what each promise rests on, and what `make chaos` found."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.chaos import promises, racing, users
from benchmarks.chaos.faults import CODES, KILLS

if TYPE_CHECKING:
    from benchmarks.chaos.campaign import Verdict

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
LONGEST_LIST = 30
INTRODUCTION = """\
# What holds when things break

Made by `make chaos`, not by hand.

Processes are killed, disks fill, files rot, runs race, users share. `make chaos` does all of that, thousands of times
and by name, to the real runner, store, delivery and run.json, with stages that take no time; and after each fault it
runs once more without one and looks at everything.

## What is promised, and what that rests on

"""
METHOD = """\

## What is tried

- **struck**: every file operation of a job below its folder is counted (open, read, write, rename, link, lock, stat,
  sync and the like); at one of them the process is killed, before it, after it, or with half of a write written, or it
  fails with an error of {codes}: once, or from there on.
  *cold*: an empty folder. *warm*: all is stored, nothing delivered. *over*: an older delivery is replaced.
  *second*: another job shares the store. *repair*: the result that is delivered is damaged.
- **rot**: each stored file has a bit flipped with its time set back, is cut, emptied, made longer, removed, or replaced
  by a folder, a link or a named pipe; folders, too. The next run delivers the right bytes, or ends in words.
- **racing**: {processes} jobs at once on one store, of which two in five may be killed: each with its own output, all
  with one, with two texts.
- **users**: two users with umask 022, 077 and 002; one is struck, and the other goes on.
- **command**: `python -m pipeline` itself, from the interpreter's start, with a run folder and a log and, as
  *isolated*, a worker process.

After each: the exit code is 0, 2 or 3, never a traceback or "a bug in Drydock", and the words name a place and a way
on; the output is the old one, the new one or absent, byte for byte; every entry of before is there, and every entry
leads to content with the right digest; the next run ends well, builds nothing again, delivers the bytes of a clean run,
and leaves no hidden file, build folder or lock of the dead; no process is left. A file that cannot be read (EIO,
EACCES, EPERM) or is not where it was counts as damaged: it is in quarantine, and built again.

Not tried: loss of power, real network disks, clocks that jump, the file operations of converters' native code. Threads
make some operations come in another order, so a trial of that name may strike the one beside it.

    make chaos                                                      everything: at most 30 minutes on two cores
    make chaos ARGS=--quick                                         a slice of it, printed and not written here
    python -m benchmarks.chaos --only struck/cold/kill-before/17    one trial

## Measured

"""


@dataclass(frozen=True)
class Summary:
    """What a campaign came to.

    Args:
        verdicts: What came of each trial.
        planned: How many there were to be.
        seconds: What it took.
        seed: Of the sample.
    """

    verdicts: Sequence[Verdict]
    planned: int
    seconds: float
    seed: int


def written(summary: Summary) -> str:
    """The page."""
    method = METHOD.format(codes=", ".join(CODES), processes=racing.PROCESSES)
    return INTRODUCTION + "\n".join([*promises.table(), method]) + "\n".join(measured(summary)) + "\n"


def measured(summary: Summary) -> list[str]:
    """The figures, and what was found."""
    killed, failed = (sum(v.struck for v in summary.verdicts if _kills(v) is kind) for kind in (True, False))
    wrong = [v for v in summary.verdicts if v.wrong]
    tried, where = len(summary.verdicts), f"{platform.system()}, Python {platform.python_version()}"
    lines = [
        f"{tried} trials in {summary.seconds / 60:.0f} minutes, {where}, seed {summary.seed}: {killed} kills and "
        f"{failed}",
        f"errors struck, beside rot and races; **{len(wrong)} found something wrong**.",
        *([f"**Stopped before its end**: {summary.planned} were planned."] if tried < summary.planned else []),
        *([f"No two users: {users.skipped()}."] if users.skipped() else []),
        "",
        "| trials | tried | struck | wrong |",
        "| --- | ---: | ---: | ---: |",
        *_rows(summary.verdicts),
    ]
    examples = [f"- `{v.name}`: {w.splitlines()[0]}" for v in wrong for w in v.wrong][:LONGEST_LIST]
    return [*lines, *(["", "### What was wrong", "", *examples] if examples else [])]


def _kills(verdict: Verdict) -> bool | None:
    """Whether a trial kills; None where it neither kills nor has an operation fail at one place."""
    part, *_, how, _ = f"{verdict.name}/".rstrip("/").split("/")
    return how in KILLS if part in ("struck", "users", "command") else None


def _rows(verdicts: Sequence[Verdict]) -> list[str]:
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        part, which, *_ = verdict.name.split("/")
        killed = {True: ", killed", False: ", an operation failed", None: ""}[_kills(verdict)]
        groups[f"{part}/{which}{killed}"].append(verdict)
    return [
        f"| {name} | {len(of)} | {sum(v.struck for v in of)} | {sum(bool(v.wrong) for v in of)} |"
        for name, of in sorted(groups.items())
    ]
