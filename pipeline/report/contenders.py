"""The speed of a run's artifact beside eager PyTorch, for its page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline import units
from pipeline.notes import noise
from pipeline.report.html import Piece, table, tag
from pipeline.report.job import Job
from pipeline.report.measures import significant
from pipeline.report.speed import EAGER
from pipeline.report.tables import NOISE
from pipeline.running.outcome import Outcome


def section(outcomes: Sequence[Outcome], job: Job) -> Piece:
    """The section of a run's page: every contender of the last benchmark of what was delivered; empty without one."""
    notes = [o.notes["benchmark"] for o in outcomes if "benchmark" in o.notes and o.digest == job.digest]
    if not notes or "case" not in notes[-1]:
        return Piece("")
    measured = notes[-1]
    names = {measured["artifact"]: job.runtime, EAGER: "eager PyTorch", "torch_compile": "torch.compile"}
    rows = [
        (names.get(name, name), *_row(figures), noise(figures) or "quiet")
        for name, figures in measured["contenders"].items()
    ]
    case = f"{measured['case']['shapes']}, {measured['threads']} threads, {measured['rounds']} rounds in turn"
    missing = (tag("p", f"{names.get(n, n)} was not measured: {why}") for n, why in measured["not_measured"].items())
    return tag(
        "section",
        tag("h2", "Speed"),
        tag("p", *_claim(job)),
        *([tag("p", f"Measured by {job.runtime}: it says nothing of {job.not_by}.")] if job.not_by else []),
        table(case, ("", "p50", "p90", "p99", "Items/s", "First answer", "Peak memory", "Noise"), rows),
        *missing,
        tag("p", NOISE, class_="note"),
    )


def _row(figures: Mapping[str, Any]) -> list[str]:
    times = [f"{figures[name]:.3g} ms" for name in ("p50_ms", "p90_ms", "p99_ms")]
    first = units.duration(figures["to_first_answer_ms"] / 1e3)
    return [*times, f"{figures['items_per_second']:.4g}", first, units.size(figures["peak_bytes"])]


def _claim(job: Job) -> Iterator[str | Piece]:
    if job.speedup is not None:
        yield tag("b", f"{significant(job.speedup)}×")
        yield " the speed of eager PyTorch on this machine."
    elif job.unclaimed:
        yield f"No speed-up is claimed, since figures are noisy: {job.unclaimed}."
    else:
        yield "Nothing was measured beside it."
