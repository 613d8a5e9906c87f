"""report.html of a single run: its stages as a graph, each with its artifact, its digest and what was checked of it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import units
from pipeline.planning.ways import Served
from pipeline.report import contenders, network, speed
from pipeline.report.delivered import Delivered, section
from pipeline.report.html import Piece, joined, page, tag
from pipeline.report.job import Job, of_run, outcomes
from pipeline.report.measures import MEASURES
from pipeline.report.page import definitions, environment, status
from pipeline.report.tables import doubts, figure
from pipeline.running.outcome import Outcome

LANE, NODE = 16, 20  # pixels from lane to lane, and from a line's top to its node
RAIL = 36  # where curves have ended and straight lines go on; page.css knows it too


@dataclass(frozen=True)
class Place:
    """Where a stage stands in the drawing.

    Args:
        lane: Its lane, from 0.
        sources: The lanes that feed it.
        passing: The lanes that go by it: where from above, and where to below.
        after: The lanes that go on below it.
    """

    lane: int
    sources: tuple[int, ...]
    passing: tuple[tuple[int, int], ...]
    after: tuple[int, ...]


def title(run: Mapping[str, Any]) -> str:
    """What a run was to make, by the names in its configuration; by its choices, where it had none yet."""
    model, target = (
        run["config"].get(group, {}).get("name") or run["choices"].get(group) for group in ("model", "target")
    )
    return f"{model or 'a job'} → {target or 'a target'}"


def _instead(run: Mapping[str, Any]) -> list[str]:
    """The alternative that worked where the choice failed; empty where the choice worked."""
    served = run.get("instead")
    return [str(Served(served["changes"], served["why"]))] if served else []


def html(run: Mapping[str, Any], delivered: Delivered | None = None) -> str:
    """The page of a run.

    Args:
        run: Its run.json.
        delivered: What it delivered, where that still exists.
    """
    stages = outcomes(run)
    graph = network.section(run["record"], delivered) if run.get("record") else Piece("")
    job = Job(0, "", (), {}, **of_run(run))
    chosen = " ".join(str(run["choices"].get(name)) for name in ("model", "target", "precision"))
    more = {"git": None, **run, "machines": [run["machine"]]}
    typed = tag("code", f"python -m pipeline {shlex.join(run['overrides'])}")
    rows = [("Started", run["started"]), ("Settings", typed), ("In", run["folder"]), *environment(more)]
    return page(
        f"Run: {chosen}",
        tag(
            "header",
            tag("p", "Drydock run", class_="eyebrow"),
            tag("h1", title(run)),
            tag("p", status(job), f": {', '.join(_lead(job))}", class_="lead"),
            *(tag("p", f"instead: {text}") for text in _instead(run)),
            *(_problem(p) for p in run.get("problems", ())),
        ),
        section(run, job, delivered),
        contenders.section(stages, job),
        tag("section", tag("h2", "Stages"), _graph(run, stages)),
        graph,
        tag("section", tag("h2", "Made with"), definitions(iter(rows))),
        script=network.SCRIPT.read_text(encoding="utf-8") if network.is_drawn(graph) else "",
    )


def edges(run: Mapping[str, Any], stages: Sequence[Outcome]) -> dict[str, tuple[str, ...]]:
    """The inputs of each stage that ran, from the record of the delivered artifact.

    What the record leaves out passes its artifact on, such as a benchmark or the delivery: it comes behind the nearest
    stage before it with the same content. A run that delivered nothing has no record, so no edges.
    """
    recorded = {s["name"]: tuple(s["needs"].values()) for s in (run.get("record") or {}).get("stages", ())}
    if not recorded:
        return {}
    names = {o.name for o in stages}
    fed: dict[str, tuple[str, ...]] = {}
    for i, outcome in enumerate(stages):
        if outcome.name in recorded:
            sources = recorded[outcome.name]
        else:
            same = [o.name for o in stages[:i] if o.digest == outcome.digest and o.digest is not None]
            sources = tuple(same[-1:])
        fed[outcome.name] = tuple(dict.fromkeys(s for s in sources if s in names))
    return fed


def places(fed: Mapping[str, Sequence[str]]) -> dict[str, Place]:
    """A lane for each stage, in order, as version control draws its history.

    What leads to the last stage, each time by what is taken first, goes straight down the first lane. Whatever else a
    stage makes keeps a lane of its own until the last stage that takes it.
    """
    lanes: list[str | None] = []
    order = list(fed)
    straight = _straight(fed)
    placed: dict[str, Place] = {}

    def free(start: int) -> int:
        lane = next((i for i in range(start, len(lanes)) if lanes[i] is None), max(len(lanes), start))
        lanes.extend([None] * (lane + 1 - len(lanes)))
        return lane

    for i, name in enumerate(order):
        later = {source for after in order[i + 1 :] for source in fed[after]}
        above = {occupant: lane for lane, occupant in enumerate(lanes) if occupant is not None}
        lanes = [occupant if occupant in later else None for occupant in lanes]
        if name in straight and lanes and (occupant := lanes[0]) is not None:
            lanes[0] = None
            lanes[free(1)] = occupant  # aside, for those that take it later
        lane = free(0 if name in straight else 1)
        passing = tuple((above[occupant], to) for to, occupant in enumerate(lanes) if occupant is not None)
        lanes[lane] = name if name in later else None
        after = tuple(to for to, occupant in enumerate(lanes) if occupant is not None)
        placed[name] = Place(lane, tuple(above[s] for s in fed[name] if s in above), passing, after)
    return placed


def _straight(fed: Mapping[str, Sequence[str]]) -> set[str]:
    """The stages that lead to the last one by first inputs."""
    name = next(reversed(list(fed)), None)
    line: set[str] = set()
    while name is not None and name not in line:
        line.add(name)
        name = next(iter(fed[name]), None)
    return line


def _lead(job: Job) -> Iterator[str]:
    yield f"{units.duration(job.seconds or 0)} of work"
    yield f"{job.hits} of {job.stored} stages from the store, {units.duration(job.saved or 0)} saved"
    if job.unchecked:
        yield f"NOT CHECKED: {job.unchecked}"
    for measure in MEASURES.values():
        if measure.name != "seconds" and measure.value(job) is not None:
            why = "".join(f" ({doubt})" for doubt in doubts(job, measure))
            yield f"{measure.title.lower()} {figure(job, measure)}{why}"


def _problem(problem: Mapping[str, str]) -> Piece:
    rows = [("allowed", problem.get("allowed")), ("try", problem.get("command"))]
    more = [tag("p", f"{name}: ", tag("code", text)) for name, text in rows if text]
    return tag("article", tag("p", problem["what"]), *more)


def _graph(run: Mapping[str, Any], stages: Sequence[Outcome]) -> Piece:
    fed = edges(run, stages)
    placed = places(fed)
    wide = max((lane + 1 for place in placed.values() for lane in (place.lane, *place.after)), default=0)
    record = run.get("record") or {"stages": (), "checks": ()}
    recorded = {s["name"]: s for s in record["stages"]}
    checks = {c["stage"]: c for c in record["checks"]}
    lines = [
        tag(
            "li",
            _drawn(placed[o.name], o) if o.name in placed else None,
            _line(o, fed.get(o.name, ()), recorded.get(o.name), checks.get(o.name)),
        )
        for o in stages
    ]
    key = "A filled dot was built, an open one was found in the store, a square was delivered."
    none = "This run delivered nothing, so it has no record of what fed what: its stages stand in their order."
    note = tag("p", key if fed else none, class_="note")
    return joined(note, tag("ol", *lines, class_="graph" if fed else "graph bare", style=f"--lanes: {wide}"))


def _drawn(place: Place, outcome: Outcome) -> Piece:
    """One line's share of the drawing: what comes from above, the node, and what goes on below."""

    def x(lane: int) -> int:
        return lane * LANE + 8

    node = x(place.lane)

    def curve(start: int, end: int, down: int) -> str:
        return f"M{start} 0C{start} {down // 2} {end} {down // 2} {end} {down}"

    paths = [curve(x(above), x(below), RAIL) for above, below in place.passing]
    paths += [curve(x(lane), node, NODE) for lane in place.sources]
    paths += [f"M{node} {NODE}V{RAIL}"] if place.lane in place.after else []
    if outcome.how == "delivered":
        shape = tag("rect", x=node - 5, y=NODE - 5, width=10, height=10, class_=f"node {outcome.how}")
    else:
        shape = tag("circle", cx=node, cy=NODE, r=5, class_=f"node {outcome.how}")
    width = max(node, *map(x, place.after), 0) + 8
    svg = tag("svg", *(tag("path", d=d) for d in paths), shape, width=width, height=RAIL, aria_hidden="true")
    rails = [tag("span", class_="rail", style=f"left: {x(lane) - 1}px") for lane in place.after]
    return Piece("".join([svg, *rails]))


def _line(
    outcome: Outcome, fed: Sequence[str], recorded: Mapping[str, Any] | None, check: Mapping[str, Any] | None
) -> Piece:
    says = _without_claim(outcome)
    caution = outcome.notes.get("caution")
    head = tag(
        "div",
        tag("h3", outcome.name),
        tag("span", outcome.how, class_="how"),
        tag("span", units.duration(outcome.seconds), class_="fig"),
        tag("span", units.size(outcome.size) if outcome.size else "", class_="fig"),
        tag("span", tag("code", outcome.digest[:12]) if outcome.digest else "in memory", class_="of"),
        tag("p", says) if says else None,
        class_="line",
    )
    rows = list(_details(outcome, fed, recorded, check))
    return joined(
        head,
        tag("p", f"caution: {caution}") if caution else None,
        tag("details", tag("summary", "details"), definitions(iter(rows))) if rows else None,
    )


def _without_claim(outcome: Outcome) -> str | None:
    """A stage's line; without the ratio of a benchmark whose figures are noisy, which older versions made of them."""
    says = outcome.notes.get("says")
    benchmark = outcome.notes.get("benchmark")
    if says is None or benchmark is None or not speed.figures(benchmark)["unclaimed"]:
        return says
    return re.sub(r", [\d.]+× the speed of eager PyTorch", "", says)


def _details(
    outcome: Outcome, fed: Sequence[str], recorded: Mapping[str, Any] | None, check: Mapping[str, Any] | None
) -> Iterator[tuple[str, str | Piece]]:
    if fed:
        yield "Fed by", ", ".join(fed)
    if parity := outcome.notes.get("parity"):
        yield "Compared", f"with {parity['against']}: " + ", ".join(_case(case) for case in parity["cases"])
        if unsure := parity.get("not_judged"):
            yield "Not judged", "the model itself decides by rounding alone: " + "; ".join(unsure)
    if tokens := outcome.notes.get("generation"):
        batches = ", ".join(f"{equal} after {prompt}" for prompt, equal in tokens["batches"].items())
        yield "Tokens", f"equal to those of {tokens['against']}, through {tokens['runtime']}: {batches}"
    if unchecked := outcome.notes.get("unchecked"):
        yield "NOT CHECKED", f"against {unchecked['against']}: {unchecked['why']}"
    if check and (claimed := (check.get("parity") or {}).get("tolerance")):
        yield "Held to", ", ".join(f"{n} {v:g}" for n, v in claimed.items() if isinstance(v, float | int))
    if check and (skipped := (check.get("parity") or {}).get("not_asked")):
        yield "Not asked", "; ".join(f"{name}: {why}" for name, why in skipped.items())
    if table := outcome.notes.get("benchmark", {}).get("table"):
        yield "Measured", tag("pre", "\n".join(table), tabindex=0)
    if recorded:
        yield "Stage", str(recorded["stage"])
        yield "Settings", tag("code", json.dumps(recorded["settings"], sort_keys=True))
    if outcome.digest:
        yield "Digest", tag("code", outcome.digest)
    if outcome.key:
        yield "Key", tag("code", outcome.key)
    if outcome.peak_bytes:
        yield "Peak memory", units.size(outcome.peak_bytes)


def _case(case: Mapping[str, Any]) -> str:
    what = f" with {case['label']}" if case.get("family", "sizes") != "sizes" else ""
    return f"{case['max_rel']:.1e} at {case['shape']}{what}"
