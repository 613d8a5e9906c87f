"""A sweep's files: jobs.json, written when the sweep starts, and each job's run.json, which says how the job ended.

Only files are read: most launchers run a job in another process, which a native library may end.
"""

from __future__ import annotations

import platform
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pipeline import errors
from pipeline.errors import DrydockError
from pipeline.printable import tell
from pipeline.runs.folders import JOBS, hold
from pipeline.runs.manifest import RunManifest
from pipeline.store.files import read_json, remove_dead, write_json

SCHEMA = 1
FILE = JOBS
PROGRAMS = ("__main__.py", "torch-drydock", "torch_drydock.py")  # as they are started
MULTIRUN = ("-m", "--multirun")
HYDRAS = re.compile(r"[+~]*hydra[./=]")


@dataclass(frozen=True)
class Job:
    """One cell of a sweep.

    Args:
        number: Its place in the order of the sweep.
        folder: Where it writes, below the sweep's root.
        overrides: Its overrides.
    """

    number: int
    folder: str
    overrides: Sequence[str]


def number_in(root: str | Path, folder: str) -> int | None:
    """The number of the job that writes to a folder of a sweep's; None where jobs.json does not say.

    A launcher numbers jobs too, anew for those that it launches again.
    """
    content = read_json(Path(root) / FILE)
    jobs = content["jobs"] if isinstance(content, dict) else []
    return next((job["number"] for job in jobs if job["folder"] == folder), None)


def alone(overrides: Sequence[str], typed: Sequence[str]) -> str:
    """The command that runs one job of a sweep by itself: the flags that were typed, and the job's overrides.

    Hydra's own settings are left out: they belong to the sweep. A sweep without -m sweeps because its YAML says so; the
    command then switches that off.

    Args:
        overrides: The job's overrides.
        typed: The arguments that the sweep was started with, such as --config-dir, -m and overrides.
    """
    overrides = [o for o in overrides if split(o)[0] != "select"]  # of a sweep, not of a job
    own = {"select", *(split(o)[0] for o in overrides)}
    kept = [a for a in typed if a not in MULTIRUN and split(a)[0] not in own and not HYDRAS.match(a)]
    once = [] if set(MULTIRUN) & set(typed) or not typed else ["hydra.mode=RUN"]
    return f"python -m pipeline {shlex.join([*kept, *overrides, *once])}"


def repeating(overrides: Sequence[str], command: Sequence[str]) -> str:
    """The command that repeats a run; for a job of a sweep, the command that runs the job by itself.

    Args:
        overrides: The run's overrides.
        command: The program and its arguments. Those of another program are ignored, such as a script that converts
            from Python.
    """
    program, *typed = command or [""]
    if Path(program).name not in PROGRAMS:
        return alone(overrides, ())
    if set(MULTIRUN) & set(typed) or not set(overrides) <= set(typed):
        return alone(overrides, typed)
    return f"python -m pipeline {shlex.join(word for word in typed if not word.startswith('hydra.run.dir='))}".rstrip()


def split(override: str) -> tuple[str, str]:
    """Key and value of an override; a leading + is not part of the key."""
    key, _, value = override.partition("=")
    return key.lstrip("+"), value


class State(StrEnum):
    """How a job ended."""

    OK = "ok"
    FAILED = "failed"
    LOST = "lost"  # its process ended and wrote nothing
    INTERRUPTED = "interrupted"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Outcome:
    """How a job ended, where and why; `code` is the exit code that it would have had by itself, if it has one."""

    job: Job
    state: State
    where: str = ""
    why: str = ""
    code: int | None = None


class Sweep:
    """The jobs of one sweep and their files.

    Args:
        root: The sweep's folder.
        jobs: In the order of their numbers.
        select: The rule that chooses the best job, if there is one; see pipeline/report/select.py.
        reported: Whether the sweep ends with a report; a sweep of plans has nothing to report.
        here: Whether this process runs the jobs itself: no launcher has then anything to clean up.
    """

    def __init__(
        self, root: Path, jobs: Sequence[Job], select: str | None = None, *, reported: bool = True, here: bool = False
    ) -> None:
        self.root = root
        self.jobs = jobs
        self.select = select
        self.reported = reported
        self.here = here
        self.lost: set[int] = set()  # numbers of jobs that are known to have ended while others still run
        self._lock: int | None = None
        self.gave_up = ""  # why the launcher ended before its jobs did

    def begin(self, axes: dict[str, list[str]]) -> None:
        """Writes jobs.json, and removes the run.json files of an earlier sweep in the same folder. Raises OSError."""
        remove_dead(self.root)
        self._lock = hold(self.root)  # as long as this process lives
        for job in self.jobs:
            self.record(job).unlink(missing_ok=True)
            remove_dead(self.root / job.folder)
        content = {
            "schema": SCHEMA,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": platform.node(),
            "command": sys.argv,
            "axes": axes,
            "jobs": [asdict(job) for job in self.jobs],
        }
        write_json(self.root / FILE, content, ordered=True)

    def refuse(self, job: Job, error: DrydockError) -> None:
        """Records that a job failed before it could begin. Raises OSError."""
        RunManifest(self.record(job), job.overrides, {}).fail(error, error.exit_code)

    def forget(self, job: Job) -> None:
        """Removes a job's record, so that it counts as not begun. Raises OSError."""
        self.record(job).unlink(missing_ok=True)

    def outcome(self, job: Job, *, interrupted: bool = False) -> Outcome:
        """How a job ended, by its run.json.

        Args:
            job: The job, which no longer runs.
            interrupted: Whether somebody ended the sweep.
        """
        record = read_json(self.record(job))
        if not isinstance(record, dict):
            return Outcome(job, State.NOT_RUN, why="" if interrupted else self.gave_up)
        return outcome_of(job, record, interrupted=interrupted)

    def delivered(self, job: Job) -> str | None:
        """The path of what a job delivered; None where it did not."""
        record = read_json(self.record(job))
        artifact = record.get("artifact") if isinstance(record, dict) and record.get("status") == "ok" else None
        return artifact if isinstance(artifact, str) else None

    def tell(self, *, interrupted: bool = False) -> int:
        """Shows on stderr how the jobs ended, with a command for each that did not succeed. Returns the exit code."""
        outcomes = [self.outcome(job, interrupted=interrupted) for job in self.jobs]
        tell(table(outcomes, sys.argv[1:]))
        if interrupted:
            return errors.INTERRUPTED
        return errors.OK if all(o.state is State.OK for o in outcomes) else errors.SWEEP_FAILED

    def record(self, job: Job) -> Path:
        """A job's run.json, which exists once the job has begun."""
        return self.root / job.folder / "run.json"


def outcome_of(job: Job, record: Mapping[str, Any], *, interrupted: bool = False) -> Outcome:
    """How a job ended, by its run.json. One that says it still runs is lost, or was interrupted with the others."""
    where, code = record.get("stage") or "", record.get("exit_code")
    match record.get("status"):
        case "ok" | "planned":
            return Outcome(job, State.OK, code=code)
        case "failed":
            problems = record.get("problems") or [{"what": ""}]
            why = str(problems[0]["what"]).partition("\n")[0].removeprefix(f"{where}: ")
            return Outcome(job, State.FAILED, where, why, code)
        case "running" if not interrupted:
            return Outcome(job, State.LOST, where, "its process ended without a result: a crash, or out of memory")
    return Outcome(job, State.INTERRUPTED, where, code=code)


def table(outcomes: Sequence[Outcome], typed: Sequence[str]) -> str:
    """How many jobs there were. For each that did not succeed: its state, where, why, and the command that repeats it.

    Args:
        outcomes: How the jobs ended.
        typed: The arguments that the sweep was started with.
    """
    counts = ", ".join(f"{n} {state}" for state in State if (n := sum(o.state is state for o in outcomes)))
    bad = [o for o in outcomes if o.state is not State.OK]
    if not bad:
        return f"{len(outcomes)} jobs: {counts}"
    rows = [("job", "state", "where", "why"), *((str(o.job.number), _said(o), o.where or "-", o.why) for o in bad)]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    head, *lines = ["  ".join([*(c.ljust(w) for c, w in zip(r, widths, strict=False)), r[3]]).rstrip() for r in rows]
    again = [f"{' ' * widths[0]}  again: {alone(outcome.job.overrides, typed)}" for outcome in bad]
    details = [line for pair in zip(lines, again, strict=True) for line in pair]
    return "\n".join([f"{len(outcomes)} jobs: {counts}", head, *details])


def _said(outcome: Outcome) -> str:
    return f"{outcome.state} ({outcome.code})" if outcome.code is not None else str(outcome.state)
