"""The folders that runs and sweeps left: where they are, and what their run.json says."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.store.files import read_json

RUN, JOBS = "run.json", "jobs.json"
# The keys that every run.json has; see pipeline/runs/manifest.py.
HAS: Mapping[str, type] = {
    **dict.fromkeys(("status", "started", "folder", "drydock"), str),
    **dict.fromkeys(("overrides", "command", "stages"), list),
    **dict.fromkeys(("choices", "config", "machine", "versions"), dict),
}
# runs/DAY/RUN, and sweeps/DAY/SWEEP/JOB, from the folder above both.
DEEPEST = 4


def read_run(folder: Path) -> dict[str, Any] | None:
    """The run.json of a run's folder; None where there is none, or it is not ours, or it cannot be read."""
    run = read_json(folder / RUN)
    return run if isinstance(run, dict) and all(isinstance(run.get(n), t) for n, t in HAS.items()) else None


def runs(place: Path) -> list[Path]:
    """Every folder with a run.json at a place or below it, by their paths; links are not followed. Raises OSError."""
    return sorted(_runs(place, DEEPEST))


def _runs(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / RUN).is_file():
        yield folder
    elif depth:
        for inside in _folders(folder):
            yield from _runs(inside, depth - 1)


def sweeps(place: Path) -> list[Path]:
    """Every folder with a jobs.json at a place or below it, by their paths; links are not followed. Raises OSError."""
    return sorted(_sweeps(place, DEEPEST))


def _sweeps(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / JOBS).is_file():
        yield folder
    elif depth and not (folder / RUN).is_file():
        for inside in _folders(folder):
            yield from _sweeps(inside, depth - 1)


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as inside:
        return [Path(entry.path) for entry in inside if entry.is_dir(follow_symlinks=False)]


def hold(folder: Path) -> int | None:
    """Shows that this process works in a folder, until `let_go` or the process's end, however it ends.

    None where the file system has no locks.
    """
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def let_go(lock: int | None) -> None:
    """Shows that the work in the folder has ended."""
    if lock is not None:
        os.close(lock)


def is_held(folder: Path) -> bool:
    """Whether a process of this machine works in a folder."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(lock)
    return False


def digests(run: Mapping[str, Any]) -> set[str]:
    """The digests of the stored results that a run used or built."""
    stages = (stage for stage in run["stages"] if isinstance(stage, dict))
    return {stage["digest"] for stage in stages if isinstance(stage.get("digest"), str)}


def moment(text: Any) -> float:
    """Seconds since 1970 of a time in a run.json; 0 for what is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def seconds_of(run: Mapping[str, Any]) -> float | None:
    """How long a run took; None for one that did not end."""
    began, ended = moment(run["started"]), moment(run.get("ended"))
    return ended - began if began and ended else None
