"""The differences of two runs, by their run.json: settings, versions, results, figures and time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import units
from pipeline.record import difference
from pipeline.record.difference import What
from pipeline.report.job import Job, of_run, outcomes
from pipeline.report.measures import MEASURES
from pipeline.runs.folders import seconds_of
from pipeline.store import key as keys

# Keys of the record that settings and versions show already.
SAID = (What.SETTINGS, What.LIBRARY)
SHOWN = 60  # characters of a value


@dataclass(frozen=True)
class Change:
    """One difference between two runs.

    Args:
        what: settings, versions, results or measured.
        place: Where, such as "opset", "torch", "export: bytes" or "error".
        a: The value in the first run; None where it has none.
        b: The value in the second run; None where it has none.
    """

    what: str
    place: str
    a: Any
    b: Any

    def __str__(self) -> str:
        if self.what == "results":
            return f"{self.place}: {self.b}"
        return f"{self.place}: {' → '.join(self.shown)}"

    @property
    def shown(self) -> tuple[str, str]:
        """Both values in words, the first run's first."""
        return _shown(self.place, self.a), _shown(self.place, self.b)


def between(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Change]:
    """All differences of two runs, causes before consequences, without `started` and `folder`."""
    return [*_settings(a, b), *_versions(a, b), *_results(a, b), *_figures(a, b)]


def _settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Change]:
    """Differences of settings. A stage's setting is left out where it only repeats a changed top-level key."""
    configs = [{n: v for n, v in run["config"].items() if n not in ("output", "store")} for run in (a, b)]
    changes = keys.changes(configs[0], configs[1])
    above = {(_leaf(place), *values) for place, *values in changes if not place.startswith("stages.")}
    for place, *values in changes:
        if not place.startswith("stages.") or (_leaf(place), *values) not in above:
            yield Change("settings", place, *values)


def _leaf(place: str) -> str:
    return place.rpartition(".")[2]


def _versions(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Change]:
    both = [{"drydock": run["drydock"], **run["versions"], **_surroundings(run)} for run in (a, b)]
    yield from (Change("versions", *change) for change in keys.changes(both[0], both[1]))


def _surroundings(run: Mapping[str, Any]) -> dict[str, Any]:
    git, machine = run.get("git") or {}, run["machine"]
    commit = f"{git.get('commit')}{' with changes' if git.get('dirty') else ''}" if git else "none"
    return {"git": commit, "processor": str(machine.get("cpu"))}


def _results(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Change]:
    """Differences of results: of the records that were delivered, or of stages where one run delivered nothing."""
    if a.get("record") and b.get("record"):
        for one in difference.between(a["record"], b["record"]):
            if one.what not in SAID:
                yield Change("results", f"{one.stage or 'the run'}: {one.what}", None, one.says)
        return
    old, new = ({o.name: o.digest for o in outcomes(run)} for run in (a, b))
    for name in [*old, *(n for n in new if n not in old)]:
        if name not in old or name not in new:
            yield Change("results", f"{name}: {What.GRAPH}", None, "only in A" if name in old else "only in B")
        elif old[name] != new[name]:
            yield Change(
                "results", f"{name}: {What.BYTES}", None, " → ".join(str(d)[:12] for d in (old[name], new[name]))
            )


def _figures(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Change]:
    jobs = [Job(0, "", (), {}, **of_run(run)) for run in (a, b)]
    if jobs[0].status != jobs[1].status:
        yield Change("measured", "status", jobs[0].status, jobs[1].status)
    for name, measure in MEASURES.items():
        values = [measure.value(job) for job in jobs]
        if values[0] != values[1]:
            yield Change("measured", name, *values)
            if name == "latency" and any(job.noise for job in jobs):
                yield Change("measured", "noise of latency", *(job.noise or None for job in jobs))
            if name == "latency" and jobs[0].runtime != jobs[1].runtime:
                yield Change("measured", "runtime of latency", *(job.runtime or None for job in jobs))
    took = [seconds_of(run) for run in (a, b)]
    if took[0] != took[1]:
        yield Change("measured", "time", *took)


def _shown(place: str, value: Any) -> str:
    if value is None:
        return "none"
    if place == "time":
        return units.duration(value)
    if place in MEASURES and isinstance(value, float):
        return MEASURES[place].text(value)
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
