"""Past runs and sweeps, by their run.json and jobs.json alone: lists them, and removes them.

Only files that a run writes are removed, in folders whose run.json is ours. A folder with any other file stays, and no
link is followed.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.housekeeping.contents import below
from pipeline.runs import folders
from pipeline.runs.folders import JOBS, RUN
from pipeline.store.files import read_json
from pipeline.store.store import FACTS

# Names that a run, its sweep, their reports and Hydra write. `artifact` is removed where it is a delivery.
FILES = (RUN, "pipeline.log", "report.html")
SWEEP_FILES = (JOBS, "sweep.json", "report.html", "multirun.yaml", "pipeline.log")
HYDRA, ARTIFACT, EXAMPLES = ".hydra", "artifact", "examples"
HYDRA_FILES = ("config.yaml", "hydra.yaml", "overrides.yaml")
DAY = re.compile(r"\d{4}-\d\d-\d\d")
FORGOTTEN_SECONDS = 7 * 86400.0  # a run on another machine whose files are this old is taken for ended


@dataclass(frozen=True)
class Past:
    """A run, or a sweep with its runs.

    Args:
        folder: Where it is.
        runs: The folder and the run.json of each run; for a single run, its own.
        jobs: How many jobs a sweep has; None for a run.
        host: The machine that a sweep was started on.
    """

    folder: Path
    runs: Sequence[tuple[Path, Mapping[str, Any]]]
    jobs: int | None = None
    host: str | None = None

    @property
    def began(self) -> float:
        """When the first run began, in seconds since the epoch; 0 where no run says."""
        return min((folders.moment(run["started"]) for _, run in self.runs), default=0.0)

    @property
    def ended(self) -> float:
        """When the last run ended, or last wrote something."""
        return max((folders.moment(run.get("ended") or run["started"]) for _, run in self.runs), default=0.0)

    @property
    def status(self) -> str:
        """How it ended; for a sweep the counts, such as "7 ok, 2 failed"."""
        states = [status(folder, run) for folder, run in self.runs]
        if self.jobs is None:
            return states[0]
        counts = {state: states.count(state) for state in dict.fromkeys(sorted(states))}
        counts |= {"not run": missing} if (missing := self.jobs - len(states)) > 0 else {}
        return ", ".join(f"{n} {state}" for state, n in counts.items())

    @property
    def goes_on(self) -> bool:
        """Whether it may still run."""
        if any(status(folder, run) == "running" for folder, run in self.runs):
            return True
        return self.jobs is not None and (
            folders.is_held(self.folder) or (len(self.runs) < self.jobs and _may_go_on(self.folder / JOBS, self.host))
        )


def find(places: Sequence[Path]) -> list[Past]:
    """Every sweep and run at some places or below them, the oldest first. Raises OSError."""
    found: dict[Path, Past] = {}
    for place in places:
        for folder in folders.sweeps(place):
            runs = [(f, run) for f in folders.runs(folder) if (run := folders.read_run(f)) is not None]
            listed: Any = read_json(folder / JOBS)
            if isinstance(listed, dict) and isinstance(listed.get("jobs"), list):
                found[folder] = Past(folder, runs, len(listed["jobs"]), listed.get("host"))
        inside = {f for past in found.values() for f, _ in past.runs}
        for folder in folders.runs(place):
            run = folders.read_run(folder)
            if run is not None and folder not in inside:
                found[folder] = Past(folder, [(folder, run)])
    return sorted(found.values(), key=lambda past: (past.began, past.folder))


def status(folder: Path, run: Mapping[str, Any]) -> str:
    """How a run ended: ok, failed, interrupted, planned, running, or lost, which means that it never wrote its end."""
    if run["status"] != "running":
        return str(run["status"])
    return "running" if folders.is_held(folder) or _may_go_on(folder / RUN, run["machine"].get("host")) else "lost"


def _may_go_on(file: Path, host: Any) -> bool:
    """Whether a run may still go on at another machine, whose locks are not seen here."""
    with contextlib.suppress(OSError):
        return host not in (None, platform.node()) and time.time() - file.stat().st_mtime < FORGOTTEN_SECONDS
    return False


def size(past: Past) -> int:
    """The bytes below its folder."""
    return sum(at.st_size for _, at in below(past.folder))


def chosen(found: Sequence[Past], older: float | None, keep: int) -> list[Past]:
    """Which of the ended runs to remove.

    Args:
        found: All runs, the oldest first.
        older: The least number of seconds since the end of a run; None for any.
        keep: How many of the latest stay in any case.
    """
    now = time.time()
    candidates = found[: len(found) - keep] if keep else found
    return [p for p in candidates if not p.goes_on and (older is None or now - p.ended >= older)]


def strangers(past: Past) -> list[str]:
    """Files in its folders that no run wrote."""
    found = [name for folder, _ in past.runs for name in _strangers(folder)]
    if past.jobs is not None:
        jobs = {folder.name for folder, _ in past.runs if folder.parent == past.folder}
        found += [str(past.folder / n) for n in _names(past.folder) - jobs - {*SWEEP_FILES}]
    return sorted(found)


def remove_past(past: Past) -> bool:
    """Removes the files of a run or a sweep, unless other files lie among them. Returns whether. Raises OSError."""
    if strangers(past):
        return False
    for folder, _ in past.runs:
        _remove_run(folder)
    if past.jobs is not None:
        for name in (*SWEEP_FILES[1:], JOBS):  # last: until then the folder is still seen as a sweep
            (past.folder / name).unlink(missing_ok=True)
        past.folder.rmdir()
    if DAY.fullmatch(past.folder.parent.name):
        with contextlib.suppress(OSError):  # the day's folder has other runs
            past.folder.parent.rmdir()
    return True


def _strangers(folder: Path) -> Iterator[str]:
    """Files in a run's folder that a run does not write."""
    for name in sorted(_names(folder) - {*FILES}):
        path = folder / name
        whole = {HYDRA: _is_hydras, EXAMPLES: _is_examples, ARTIFACT: _is_delivery}.get(name)
        if whole is None or path.is_symlink() or not path.is_dir() or not whole(path):
            yield str(path)


def _is_hydras(folder: Path) -> bool:
    return _names(folder) <= {*HYDRA_FILES}


def _is_examples(folder: Path) -> bool:
    return all(name.endswith(".npy") for name in _names(folder))


def _is_delivery(folder: Path) -> bool:
    """Whether a folder holds a delivery, or several in folders of their own, or nothing, and no other file."""
    facts = read_json(folder / FACTS)
    if isinstance(facts, dict) and isinstance(facts.get("files"), list):
        return _names(folder) <= {FACTS, *map(str, facts["files"])}
    inside = [folder / name for name in _names(folder)]
    return all(p.is_dir() and not p.is_symlink() and (p / FACTS).is_file() and _is_delivery(p) for p in inside)


def _remove_run(folder: Path) -> None:
    for name in (HYDRA, EXAMPLES, ARTIFACT):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
    for name in (*FILES[1:], RUN):  # last: until then the folder is still seen as a run
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()


def _names(folder: Path) -> set[str]:
    return set(os.listdir(folder))  # noqa: PTH208 (names alone)
