"""A page of two runs side by side: what separates them, causes before their consequences, and their figures."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from pipeline import units
from pipeline.report import differences
from pipeline.report.differences import Change
from pipeline.report.html import Piece, page, table, tag
from pipeline.report.job import Job, of_run
from pipeline.report.measures import MEASURES, Measure
from pipeline.report.page import status
from pipeline.report.run_page import title
from pipeline.report.tables import NOISE, doubts, figure
from pipeline.runs.folders import seconds_of

MOST = 8  # differences of one kind that are named
HEADS = {"settings": "Settings", "versions": "Versions and surroundings", "results": "Results"}


def html(a: Mapping[str, Any], b: Mapping[str, Any], names: Sequence[str]) -> str:
    """The page.

    Args:
        a: run.json of the first run.
        b: Of the second.
        names: Their folders, as the page is to call them.
    """
    runs, jobs = (a, b), [Job(0, "", (), {}, **of_run(run)) for run in (a, b)]
    changes = differences.between(a, b)
    by_kind = {what: list(some) for what, some in groupby(changes, key=lambda change: change.what)}
    sections = [_section(head, by_kind[what]) for what, head in HEADS.items() if what in by_kind]
    return page(
        "Two runs",
        tag(
            "header",
            tag("p", "Drydock: two runs", class_="eyebrow"),
            tag("h1", f"A: {title(a)} | B: {title(b)}" if title(a) != title(b) else title(a)),
            *(_run("AB"[i], names[i], runs[i], jobs[i]) for i in range(2)),
        ),
        tag("section", tag("h2", "Measured"), *_figures(jobs, [seconds_of(run) for run in runs])),
        *(sections or [tag("section", tag("p", "Settings, versions and results are the same."))]),
    )


def _run(letter: str, name: str, run: Mapping[str, Any], job: Job) -> Piece:
    typed = tag("code", f"python -m pipeline {shlex.join(run['overrides'])}")
    return tag("p", tag("b", letter), f" {name}, {run['started']}, ", status(job), ": ", typed, class_="lead")


def _section(head: str, changes: Sequence[Change]) -> Piece:
    if changes[0].what == "results":
        return tag("section", tag("h2", head), table("By stage", ("Where", "What differs"), _by_place(changes)))
    rows = ((change.place, *(tag("code", text) for text in change.shown)) for change in changes)
    return tag("section", tag("h2", head), table(f"{len(changes)} differ", ("Where", "A", "B"), rows))


def _by_place(changes: Sequence[Change]) -> Iterator[tuple[str, Piece]]:
    """A row for each stage and kind of difference, with the first few that there are."""
    for place, some in groupby(changes, key=lambda change: change.place):
        said = [str(change.b) for change in some]
        more = [f"and {len(said) - MOST} more"] if len(said) > MOST else []
        yield place, Piece("".join(tag("div", text) for text in [*said[:MOST], *more]))


def _figures(jobs: Sequence[Job], took: Sequence[float | None]) -> Iterator[Piece]:
    shown = [m for m in MEASURES.values() if m.is_measured(jobs) or any(doubts(job, m) for job in jobs)]
    rows = [(m.title, *(_cell(job, m) for job in jobs), _against(m, jobs)) for m in shown]
    time = ("Whole run", *("" if seconds is None else units.duration(seconds) for seconds in took), "")
    yield table("Side by side", ("", "A", "B", "B against A"), [*rows, time])
    if any(job.latency is not None for job in jobs):
        yield tag("p", NOISE, class_="note")


def _cell(job: Job, measure: Measure) -> Piece:
    beside = (tag("small", doubt) for doubt in doubts(job, measure))
    return Piece("".join((tag("span", figure(job, measure)), *beside)))


def _against(measure: Measure, jobs: Sequence[Job]) -> str:
    """How many times the one figure is of the other; of noisy latencies, and of what is zero, nothing is said."""
    a, b = (measure.value(job) for job in jobs)
    if a is None or b is None:
        return ""
    if a == b:
        return "the same"
    if measure.name == "latency" and any(job.noise for job in jobs):
        return "noisy"
    if measure.name == "latency" and jobs[0].runtime != jobs[1].runtime:
        return "of two runtimes"
    return f"{b / a:.3g}×" if a > 0 else ""
