"""The measures of a job, by the names that rules, tables, charts and sweep.json share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline import units
from pipeline.report.job import Job


@dataclass(frozen=True)
class Measure:
    """One measure.

    Args:
        name: The field of a Job that holds it.
        title: A column's head.
        text: A value as people read it.
        explained: What it is, in a sentence.
    """

    name: str
    title: str
    text: Callable[[float], str]
    explained: str

    def value(self, job: Job) -> float | None:
        """Its value in a job; None where it was not measured."""
        value = getattr(job, self.name)
        return None if value is None else float(value)

    def text_of(self, job: Job) -> str:
        """Its value in a job as people read it; empty where it was not measured."""
        value = self.value(job)
        return "" if value is None else self.text(value)

    def is_measured(self, jobs: Iterable[Job]) -> bool:
        """Whether any of the jobs has it."""
        return any(self.value(job) is not None for job in jobs)


def significant(value: float) -> str:
    """Three significant digits, never with an exponent: 0.0321, 7.13, 1240."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):.{max(digits, 0)}f}"


MEASURES = {
    m.name: m
    for m in (
        Measure("error", "Error", lambda v: f"{v:.1e}", "worst relative error against the PyTorch model, at any shape"),
        Measure("accuracy", "Accuracy", lambda v: f"{v:.4f}", "by the metric that was asked for"),
        Measure("drop", "Drop", lambda v: f"{v:.4f}", "how far accuracy is below the PyTorch model's"),
        Measure("perplexity", "Perplexity", lambda v: f"{v:.2f}", "of a language model, on texts"),
        Measure("ratio", "Ratio", lambda v: f"{v:.4f}", "that perplexity as a multiple of the PyTorch model's"),
        Measure("kl", "KL", lambda v: f"{v:.1e}", "what it expects next against what the PyTorch model does, in nats"),
        Measure("agreement", "Top-1", lambda v: f"{v:.1%}", "how often its first choice is the PyTorch model's"),
        Measure("latency", "Latency", lambda v: f"{significant(v)} ms", "p50 of one inference, in milliseconds"),
        Measure("speedup", "Speed-up", lambda v: f"{significant(v)}×", "how many times as fast as eager PyTorch"),
        Measure("size", "Size", units.size, "of the delivered folder, in bytes"),
        Measure("seconds", "Build", units.duration, "what building and delivering took in that job, in seconds"),
    )
}
