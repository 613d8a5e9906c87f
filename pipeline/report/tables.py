"""A sweep as a table: for a terminal, for a pull request, for a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

from pipeline import units
from pipeline.notes import TAIL
from pipeline.printable import printable
from pipeline.report.job import Job
from pipeline.report.measures import MEASURES, Measure
from pipeline.report.sweep import Sweep

NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?", re.IGNORECASE)
FORMULAS = ("=", "+", "-", "@", "\t")
SPEEDS = ("latency", "speedup")
NOISE = (
    "~ is noisy: the medians of its blocks differ by more than the benchmark allows, or p99 is more than "
    f"{TAIL:g}× p50. No speed-up is claimed from such a figure. "
)
MARKS = {"ok": "✓", "planned": "○", "failed": "✕", "interrupted": "‖", "lost": "?", "not run": "–"}


def terminal(sweep: Sweep, *, failures: bool = True, columns: int | None = None) -> str:
    """Aligned columns, then what failed and the command that repeats it if wanted, then the best job and the totals.

    Args:
        sweep: Which.
        failures: Whether to list failed jobs and count all; False where the caller does that.
        columns: Of the terminal: measures that have no room there are left out, the last first, and named.
    """
    head, rows = _cells(sweep)
    lines = _aligned(sweep, head, rows)
    left_out: list[str] = []
    while columns and max(map(len, lines)) > columns and len(head) > 2 + len(sweep.axes):
        left_out.insert(0, head[-1].lower())
        head, rows = head[:-1], [row[:-1] for row in rows]
        lines = _aligned(sweep, head, rows)
    lines += [f"no room here for {', '.join(left_out)}: see report.html"] if left_out else []
    return "\n".join([*lines, *(_failures(sweep) if failures else ()), *_totals(sweep, counted=failures)])


def _aligned(sweep: Sweep, head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    text_columns = 2 + len(sweep.axes)  # numbers are read from the right
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(
            c.ljust(w) if i < text_columns else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in [[h.lower() for h in head], *rows]
    ]
    return [line.rstrip() for line in lines]


def markdown(sweep: Sweep) -> str:
    """A table for a pull request, with what failed below it."""
    head, rows = _cells(sweep)
    text_columns = 2 + len(sweep.axes)
    rule = [":--" if i < text_columns else "--:" for i in range(len(head))]
    lines = [f"| {' | '.join(map(_in_markdown, row))} |" for row in [head, rule, *rows]]
    failed = [
        f"- **{_in_markdown(job.name)}** {job.status}{_code(job)}: {_in_markdown(job.story)}\n\n"
        f"      {printable(job.command, keep='')}\n"
        for job in sweep.jobs
        if not job.went_well
    ]
    below = [f"\n{_in_markdown(line)}" for line in (*_best(sweep), *doubted(sweep, len(sweep.jobs)))]
    return "\n".join([*lines, *(["", *failed] if failed else []), *below]) + "\n"


def as_csv(sweep: Sweep) -> str:
    """Every job and every measure, as plain numbers."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    more = (
        "hits",
        "stored",
        "saved",
        "noisy",
        "noise",
        "runtime",
        "not_by",
        "unclaimed",
        "digest",
        "folder",
        "problem",
    )
    out.writerow(["number", *map(_in_csv, sweep.axes), "status", "exit_code", *MEASURES, *more])
    for job in sweep.jobs:
        axes = [job.swept.get(axis, "") for axis in sweep.axes]
        values = [getattr(job, name) for name in (*MEASURES, *more)]
        out.writerow([_in_csv(v) for v in (job.number, *axes, job.status, job.exit_code, *values)])
    return text.getvalue()


def _cells(sweep: Sweep) -> tuple[list[str], list[list[str]]]:
    shown = columns(sweep)
    head = ["#", *sweep.axes, "Status", *(m.title for m in shown), "Hits", "Saved"]
    rows = [
        [
            str(job.number),
            *(job.swept.get(axis, "") for axis in sweep.axes),
            f"{MARKS[job.status]} {job.status}{_code(job)}{' ★' if is_best(sweep, job) else ''}",
            *(figure(job, m) for m in shown),
            hits(job),
            "" if job.saved is None else units.duration(job.saved),
        ]
        for job in sweep.jobs
    ]
    return head, rows


def columns(sweep: Sweep) -> list[Measure]:
    """The measures that any job has a value of, or a reason why it has none."""
    return [m for m in MEASURES.values() if m.is_measured(sweep.jobs) or any(doubts(job, m) for job in sweep.jobs)]


def figure(job: Job, measure: Measure) -> str:
    """A measure of a job as tables have it: what is noisy, another runtime's or was not checked says so."""
    if measure.name == "error" and job.unchecked:
        return "NOT CHECKED"
    if measure.name == "speedup" and job.speedup is None and job.unclaimed:
        return "noisy"
    noisy = "~" if measure.name == "latency" and job.noise else ""
    foreign = "†" if measure.name in SPEEDS and job.not_by and measure.value(job) is not None else ""
    return f"{noisy}{foreign}{measure.text_of(job)}"


def doubts(job: Job, measure: Measure) -> list[str]:
    """The doubts about a figure, which stand beside it; empty where there are none."""
    if measure.name not in SPEEDS:
        return []
    noisy = f"noisy: {job.noise}" if job.noise else ""
    first = noisy if measure.name == "latency" else job.unclaimed
    foreign = f"by {job.runtime}, not by {job.not_by}" if job.not_by and measure.value(job) is not None else ""
    return [text for text in (first, foreign) if text]


def hits(job: Job) -> str:
    """How many of a job's stored stages were found: "6/10"."""
    return f"{job.hits}/{job.stored}" if job.stored else ""


def is_best(sweep: Sweep, job: Job) -> bool:
    """Whether a rule chose this job."""
    return sweep.best is not None and sweep.best.number == job.number


def _failures(sweep: Sweep) -> Iterator[str]:
    for job in sweep.jobs:
        if not job.went_well:
            yield f"\n{job.status}{_code(job)}: {job.name}"
            yield from (f"  {line}" for line in (job.story, job.advice and f"try: {job.advice}", job.command) if line)


def _totals(sweep: Sweep, *, counted: bool) -> Iterator[str]:
    yield ""
    yield from _best(sweep)
    counts = ", ".join(f"{n} {status}" for status, n in sweep.counts.items())
    total = sweep.total
    yield (
        f"{f'{len(sweep.jobs)} jobs: {counts}; ' if counted else ''}{units.duration(total.built)} of work, "
        f"{units.duration(total.shared)} saved by sharing, {units.duration(total.earlier)} by earlier runs"
    )
    yield from doubted(sweep, 3)


def doubted(sweep: Sweep, most: int) -> Iterator[str]:
    """What the marks of `figure` mean, a line for each, with at most some of the jobs that have it."""
    kinds: dict[str, dict[str, str]] = {
        "~ noisy, no ground for a claim": {job.name: job.noise for job in sweep.jobs},
        "† another runtime's": {job.name: f"by {job.runtime}, not by {job.not_by}" for job in sweep.jobs if job.not_by},
        "no speed-up, for noise": {job.name: job.unclaimed for job in sweep.jobs if job.latency is not None},
    }
    for kind, reasons in kinds.items():
        said = [f"{name} ({why})" for name, why in reasons.items() if why]
        more = [f"and {len(said) - most} more"] if len(said) > most else []
        if said:
            yield f"{kind}: {'; '.join([*said[:most], *more])}"


def by_chance(sweep: Sweep) -> str:
    """That the best job was chosen by noisy latencies, in words; empty where it was not."""
    noisy = sum(job.noisy for job in sweep.jobs)
    if sweep.best is None or not noisy or not {"latency", "speedup"} & {*re.findall(r"\w+", sweep.best.rule)}:
        return ""
    return f"; {noisy} of {len(sweep.jobs)} latencies are noisy, so another run may choose another job"


def _best(sweep: Sweep) -> Sequence[str]:
    if sweep.best is None:
        return ()
    job = next((j for j in sweep.jobs if is_best(sweep, j)), None)
    return (f"★ {sweep.best.rule}: {job.name if job else 'no job meets that'}{by_chance(sweep)}",)


def _code(job: Job) -> str:
    return f" {job.exit_code}" if job.exit_code else ""


def _in_markdown(text: str) -> str:
    """As text alone: no cell of its own, no tag, no link."""
    shown = printable(text.replace("\n", " "), keep="")
    return re.sub(r"([\\|\[\]`])", r"\\\1", shown).replace("<", "&lt;")


def _in_csv(value: object) -> object:
    """As text where a spreadsheet would take it for a formula: with an apostrophe before it, as one types it there."""
    if not isinstance(value, str):
        return value
    value = printable(value)
    if not value.startswith(FORMULAS):
        return value
    return value if NUMBER.fullmatch(value) else f"'{value}"
