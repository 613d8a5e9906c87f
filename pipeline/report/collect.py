"""Reads a sweep from its jobs' folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pipeline.report.job import Job, began, of_run
from pipeline.report.sweep import Sweep
from pipeline.runs import folders
from pipeline.runs.folders import read_run
from pipeline.runs.jobs import FILE as JOBS
from pipeline.runs.jobs import alone, repeating, split
from pipeline.store.files import read_json

T = TypeVar("T")
TYPED = Path(".hydra") / "overrides.yaml"


def collect(folder: Path) -> Sweep:
    """Everything that is known of the sweep in a folder, read from its jobs' folders; a job never fails it."""
    listed = read_json(folder / JOBS)
    if not isinstance(listed, dict) or not {"axes", "jobs"} <= listed.keys():
        listed = _as_left(folder)
    runs = {job["folder"]: read_run(folder / job["folder"]) for job in listed["jobs"]}
    records = [run for run in runs.values() if run is not None]
    commands = [run["command"] for run in records]
    typed = tuple(listed.get("command") or (commands[0] if commands and len(_distinct(commands)) == 1 else ()))[1:]
    axes = [split(name)[0] for name in listed["axes"]]
    jobs = [_job(folder / job["folder"], job, runs[job["folder"]], axes, typed) for job in listed["jobs"]]
    return Sweep(
        started=listed.get("started") or min((run["started"] for run in records), default=""),
        command=typed,
        axes={a: tuple(dict.fromkeys(job.swept[a] for job in jobs if a in job.swept)) for a in axes},
        jobs=tuple(sorted(jobs, key=lambda j: j.number)),
        drydock=next((run["drydock"] for run in records), ""),
        git=next((run["git"] for run in records if run.get("git")), None),
        machines=_distinct([run["machine"] for run in records]),
        versions=_versions([run["versions"] for run in records]),
    )


def _job(
    folder: Path, job: Mapping[str, Any], run: Mapping[str, Any] | None, axes: Sequence[str], typed: Sequence[str]
) -> Job:
    overrides = tuple(run["overrides"] if run else job["overrides"])
    values = dict(split(o) for o in overrides)
    return Job(
        number=job["number"],
        folder=job["folder"],
        overrides=overrides,
        swept={axis: values[axis] for axis in axes if axis in values},
        command=alone(overrides, typed) if typed or run is None else repeating(overrides, run["command"]),
        **(of_run(run) if run else {"status": "lost" if began(folder) else "not run"}),
    )


def _as_left(folder: Path) -> dict[str, Any]:
    """The content of jobs.json for a sweep that has none, or for a folder of runs: each run below it is a job."""
    places = {*folders.runs(folder), *(path.parents[1] for path in folder.glob(f"*/{TYPED}"))} - {folder}
    places_in_order = sorted((place.relative_to(folder) for place in places), key=lambda p: [*map(_number, p.parts)])
    jobs: list[dict[str, Any]] = [
        {"number": i, "folder": place.as_posix(), "overrides": _overrides(folder / place)}
        for i, place in enumerate(places_in_order)
    ]
    values: dict[str, list[str]] = {}
    for job in jobs:
        for axis, value in map(split, job["overrides"]):
            if value not in values.setdefault(axis, []):
                values[axis].append(value)
    return {"axes": {axis: swept for axis, swept in values.items() if len(swept) > 1}, "jobs": jobs}


def _overrides(folder: Path) -> list[str]:
    """A run's overrides, from its run.json, or else from Hydra's file."""
    run = read_run(folder)
    return [str(o) for o in (run["overrides"] if run else _yaml(folder / TYPED) or ())]


def _number(folder: str) -> tuple[float, str]:
    """A sort key: "10-resnet50" comes after "9-resnet50", and names without a number come last."""
    first = folder.split("-")[0]
    return (int(first) if first.isdecimal() else float("inf"), folder)


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _distinct(values: Sequence[T]) -> tuple[T, ...]:
    return tuple(m for i, m in enumerate(values) if m not in values[:i])


def _versions(jobs: Sequence[Mapping[str, str | None]]) -> dict[str, str]:
    names = dict.fromkeys(name for versions in jobs for name in versions)
    return {n: " or ".join(dict.fromkeys(str(v[n]) for v in jobs if v.get(n))) for n in names}
