"""report.html of a sweep: one file that opens anywhere, without a network."""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pipeline import units
from pipeline.report import charts
from pipeline.report.html import HERE, Piece, joined, link, page, tag
from pipeline.report.job import Job
from pipeline.report.measures import MEASURES, Measure
from pipeline.report.sweep import Sweep
from pipeline.report.tables import MARKS, NOISE, by_chance, columns, doubts, figure, hits, is_best

MOST_EMPTY = 10  # cells for each job, in a grid that is drawn


def html(sweep: Sweep, pages: Collection[int] = ()) -> str:
    """The page.

    Args:
        sweep: The sweep that it shows.
        pages: The jobs that have a page of their own in their folder.
    """
    over = " × ".join(sweep.axes) or "jobs"
    return page(
        f"Sweep over {over}",
        _head(sweep, over),
        _grid(sweep),
        _failures(sweep),
        _charts(sweep),
        _table(sweep, pages),
        _provenance(sweep),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
    )


def status(job: Job) -> Piece:
    """A status as a mark, a word and a colour: the colour is never alone."""
    code = f" {job.exit_code}" if job.exit_code else ""
    return tag(
        "span", tag("b", MARKS[job.status], aria_hidden="true"), f" {job.status}{code}", class_=_class(job.status)
    )


def environment(run: Mapping[str, Any]) -> Iterator[tuple[str, str | Piece]]:
    """Names and texts of the environment of a run or a sweep: `drydock`, `git`, `machines`, `versions`."""
    if git := run["git"]:
        changes = f", with uncommitted changes {git['diff'][:12]}" if git["dirty"] else ""
        yield "Commit", joined(tag("code", git["commit"] or "none yet"), f" on {git['branch']}{changes}")
    else:
        yield "Commit", "not in a git repository"
    for machine in run["machines"]:
        yield "Machine", f"{_host(machine)}{machine['cpu']}, {machine['cores']} cores, {machine['system']}"
    yield "Versions", ", ".join([f"drydock {run['drydock']}", *(f"{n} {v}" for n, v in run["versions"].items())])


def _host(machine: Mapping[str, Any]) -> str:
    """The machine's host name, unless it was removed."""
    return f"{machine['host']}: " if "host" in machine else ""


def definitions(rows: Iterator[tuple[str, str | Piece]]) -> Piece:
    """A list of names and what belongs to them."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", text)) for name, text in rows))


def _head(sweep: Sweep, over: str) -> Piece:
    total = sweep.total
    counted = ", ".join(f"{n} {word}" for word, n in sweep.counts.items())
    work = f"{units.duration(total.built)} of work; {units.duration(total.shared)} saved by sharing between jobs"
    earlier = f", {units.duration(total.earlier)} by earlier runs" if total.earlier else ""
    return tag(
        "header",
        tag("p", " ".join(["Drydock sweep", *_in_common(sweep)]), class_="eyebrow"),
        tag("h1", over),
        tag("p", f"{len(sweep.jobs)} jobs: {counted}. {work}{earlier}.", class_="lead"),
        _best(sweep) if sweep.best else None,
    )


def _in_common(sweep: Sweep) -> list[str]:
    """The model, target, experiment and sweep that all jobs share."""
    choices = [o for o in sweep.jobs[0].overrides if o.split("=")[0] in ("model", "target", "experiment", "sweep")]
    return [o for o in choices if all(o in job.overrides for job in sweep.jobs)]


def _best(sweep: Sweep) -> Piece:
    assert sweep.best is not None
    job = next((job for job in sweep.jobs if is_best(sweep, job)), None)
    winner = tag("a", job.name, href=f"#job-{job.number}") if job else "no job meets that"
    return tag("p", "★ ", tag("code", sweep.best.rule), ": ", winner, by_chance(sweep), class_="best")


def _grid(sweep: Sweep) -> Piece:
    """A cell for each job: the last axis across, all others down. Runs that are no sweep may fill few of its cells."""
    if not sweep.axes or math.prod(map(len, sweep.axes.values())) > MOST_EMPTY * len(sweep.jobs):
        return Piece("")
    *down, across = sweep.axes
    rows = list(itertools.product(*(sweep.axes[axis] for axis in down)))
    jobs = {tuple(job.swept.get(axis, "") for axis in sweep.axes): job for job in sweep.jobs}
    shown = next((MEASURES[m] for m in ("latency", "error", "size") if MEASURES[m].is_measured(sweep.jobs)), None)
    body = [
        tag(
            "tr",
            *(tag("th", value, scope="row") for value in row),
            None if down else tag("th", "", scope="row"),
            *(_cell(jobs.get((*row, value)), shown) for value in sweep.axes[across]),
        )
        for row in rows
    ]
    top = tag("tr", tag("td", "", colspan=max(len(down), 1)), tag("th", across, colspan=len(sweep.axes[across])))
    heads = [tag("th", axis, scope="col", class_="axis") for axis in down] or [tag("td", "")]
    values = tag("tr", *heads, *(tag("th", value, scope="col") for value in sweep.axes[across]))
    caption = f"Each cell is a job{f', with its {shown.title.lower()}' if shown else ''}."
    return _section(
        "Status",
        _scrolled("Status", tag("table", tag("thead", top, values), tag("tbody", *body), class_="grid")),
        caption,
    )


def _cell(job: Job | None, shown: Measure | None) -> Piece:
    if job is None:
        return tag("td", tag("span", "no such job", class_="unseen"))
    value = figure(job, shown) if shown else ""
    why = doubts(job, shown) if shown else []
    inside = (status(job), tag("small", value) if value else None, *(tag("small", text) for text in why))
    return tag("td", tag("a", *inside, href=f"#job-{job.number}", title=job.name), class_=_class(job.status))


def _failures(sweep: Sweep) -> Piece:
    """Each failure once, with its jobs."""
    alike: dict[tuple[str, int | None, str, str], list[Job]] = {}
    for job in sweep.jobs:
        if not job.went_well:
            alike.setdefault((job.status, job.exit_code, job.story, job.advice), []).append(job)
    articles = [_article(jobs) for jobs in alike.values()]
    return _section("What did not end well", joined(*articles)) if articles else Piece("")


def _article(jobs: Sequence[Job]) -> Piece:
    first = jobs[0]
    return tag(
        "article",
        tag("h3", status(first), " ", first.name if len(jobs) == 1 else f"{len(jobs)} jobs"),
        tag("p", first.story) if first.story else None,
        tag("p", "try: ", tag("code", first.advice)) if first.advice else None,
        *(_repeats(job) for job in jobs),
    )


def _repeats(job: Job) -> Piece:
    return joined(
        tag("p", f"{job.name}, to repeat it alone:", class_="note"), tag("pre", tag("code", job.command), tabindex=0)
    )


def _table(sweep: Sweep, pages: Collection[int]) -> Piece:
    shown = columns(sweep)
    heads = [
        _sorts("#", "num", "the job's number"),
        *(_sorts(axis, "", f"swept: {axis}") for axis in sweep.axes),
        _sorts("Status", "", "how the job ended, and its exit code where that is not 0"),
        *(_sorts(m.title, "num", m.explained) for m in shown),
        _sorts("Hits", "num", "stored stages that were found and not built, of all"),
        _sorts("Saved", "num", "what the stages that were found took when they were built"),
        tag("th", "Open", scope="col"),
    ]
    rows = [_row(sweep, job, shown, job.number in pages) for job in sweep.jobs]
    options = (tag("option", word, value=word) for word in sweep.counts)
    tools = tag(
        "form",
        tag("label", "Filter ", Piece('<input id="words" type="search" placeholder="fp16 18" autocomplete="off">')),
        tag("label", "Status ", tag("select", tag("option", "any", value=""), *options, id="status")),
        tag("output", f"{len(sweep.jobs)} of {len(sweep.jobs)} jobs", id="count", aria_live="polite"),
        class_="tools",
    )
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), id="jobs")
    return _section("Jobs", joined(tools, _scrolled("Jobs", table)), f"{_marks(sweep)}A column's head sorts by it.")


def _marks(sweep: Sweep) -> str:
    """What the marks in the table mean, of those that it has."""
    measured = any(job.latency is not None for job in sweep.jobs)
    meanings = {
        NOISE: measured,
        "† was measured by another runtime than the target is for. ": any(job.not_by for job in sweep.jobs),
        "NOT CHECKED: there was nothing to compare with. ": any(job.unchecked for job in sweep.jobs),
    }
    return "".join(text for text, is_there in meanings.items() if is_there)


def _sorts(title: str, class_: str, explained: str) -> Piece:
    return tag("th", tag("button", title, type="button", title=explained), scope="col", class_=class_ or None)


def _row(sweep: Sweep, job: Job, shown: list[Measure], has_page: bool) -> Piece:
    best = tag("b", " ★", title="the best by the rule") if is_best(sweep, job) else None
    opened = [link("page", f"{job.folder}/report.html")] if has_page else []
    opened += [link("folder", f"{job.folder}/")] if job.status != "not run" else []
    return tag(
        "tr",
        _figure(str(job.number), job.number),
        *(tag("td", job.swept.get(axis, "")) for axis in sweep.axes),
        tag("td", status(job), best),
        *(_figure(figure(job, m), m.value(job), *doubts(job, m)) for m in shown),
        _figure(hits(job), job.hits if job.stored else None),
        _figure("" if job.saved is None else units.duration(job.saved), job.saved),
        tag("td", *(Piece(f"{o} ") for o in opened)),
        id=f"job-{job.number}",
        data_status=job.status,
    )


def _figure(text: str, value: float | None, *doubts: str) -> Piece:
    beside = (tag("small", doubt) for doubt in doubts)
    return tag("td", text, *beside, class_="num", data_v=None if value is None else repr(value))


def _charts(sweep: Sweep) -> Piece:
    try:
        drawn = charts.draw(sweep)
    except ImportError:
        notice = joined(
            "The charts are left out: they need matplotlib. ", tag("code", "pip install 'torch-drydock[report]'")
        )
        return _section("Charts", tag("p", notice, class_="note"))
    figures = [tag("figure", tag("figcaption", tag("h3", c.title), tag("p", c.says)), Piece(c.svg)) for c in drawn]
    return _section("Charts", tag("div", *figures, class_="charts")) if figures else Piece("")


def _provenance(sweep: Sweep) -> Piece:
    facts = {"git": sweep.git, "machines": sweep.machines, "versions": sweep.versions, "drydock": sweep.drydock}
    typed = tag("code", f"python -m pipeline {shlex.join(sweep.command)}")
    rows = [("Started", sweep.started), *([("Command", typed)] if sweep.command else ()), *environment(facts)]
    return _section("Made with", definitions(iter(rows)))


def _section(title: str, inside: Piece, note: str = "") -> Piece:
    return tag("section", tag("h2", title), tag("p", note, class_="note") if note else None, inside)


def _scrolled(name: str, inside: Piece) -> Piece:
    return tag("div", inside, class_="scrolled", role="region", aria_label=name, tabindex=0)


def _class(word: str) -> str:
    return f"is-{word.replace(' ', '-')}"
