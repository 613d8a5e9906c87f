"""A sweep's folder → what its jobs left there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.report.job import Job, began, ended, measured, outcomes
from pipeline.report.sweep import Sweep
from pipeline.runs.folders import read_run
from pipeline.runs.jobs import FILE as JOBS
from pipeline.runs.jobs import alone, split
from pipeline.store.files import read_json

TYPED = Path(".hydra") / "overrides.yaml"


def collect(folder: Path) -> Sweep:
    """Everything that is known of the sweep in a folder, read from its jobs' folders; a job never fails it."""
    listed = read_json(folder / JOBS)
    if not isinstance(listed, dict) or not {"axes", "jobs"} <= listed.keys():
        listed = _as_left(folder)
    runs = {job["folder"]: read_run(folder / job["folder"]) for job in listed["jobs"]}
    known = [run for run in runs.values() if run is not None]
    typed = tuple(listed.get("command") or next((run["command"] for run in known), ()))[1:]
    axes = [split(name)[0] for name in listed["axes"]]
    jobs = [_job(folder / job["folder"], job, runs[job["folder"]], axes, typed) for job in listed["jobs"]]
    return Sweep(
        started=listed.get("started") or min((run["started"] for run in known), default=""),
        command=typed,
        axes={a: tuple(dict.fromkeys(job.swept[a] for job in jobs if a in job.swept)) for a in axes},
        jobs=tuple(sorted(jobs, key=lambda j: j.number)),
        drydock=next((run["drydock"] for run in known), ""),
        git=next((run["git"] for run in known if run.get("git")), None),
        machines=_distinct([run["machine"] for run in known]),
        versions=_versions([run["versions"] for run in known]),
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
        command=alone(overrides, typed),
        **({**ended(run), **measured(outcomes(run))} if run else {"status": "lost" if began(folder) else "not run"}),
    )


def _as_left(folder: Path) -> dict[str, Any]:
    """What jobs.json would say of an older sweep: every folder that Hydra wrote overrides into is a job of it."""
    found = sorted(folder.glob(f"*/{TYPED}"), key=lambda p: _number(p.parents[1].name))
    jobs: list[dict[str, Any]] = [
        {"number": i, "folder": path.parents[1].name, "overrides": list(map(str, _yaml(path) or ()))}
        for i, path in enumerate(found)
    ]
    values: dict[str, list[str]] = {}
    for job in jobs:
        for axis, value in map(split, job["overrides"]):
            if value not in values.setdefault(axis, []):
                values[axis].append(value)
    return {"axes": {axis: found for axis, found in values.items() if len(found) > 1}, "jobs": jobs}


def _number(folder: str) -> tuple[float, str]:
    """Sorts "10-resnet50" behind "9-resnet50", and what has no number behind both."""
    first = folder.split("-")[0]
    return (int(first) if first.isdecimal() else float("inf"), folder)


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _distinct(found: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    return tuple(m for i, m in enumerate(found) if m not in found[:i])


def _versions(found: Sequence[Mapping[str, str | None]]) -> dict[str, str]:
    names = dict.fromkeys(name for versions in found for name in versions)
    return {n: " or ".join(dict.fromkeys(str(v[n]) for v in found if v.get(n))) for n in names}
