"""The best job by a rule: `min latency where drop <= 0.01 and error < 1e-3`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.errors import ConfigError, Problem, nearest
from pipeline.report.job import Job
from pipeline.report.measures import MEASURES, Measure
from pipeline.report.sweep import Best, Sweep

FORM = "min|max METRIC [where METRIC OP NUMBER [and METRIC OP NUMBER …]]"
COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "≤": operator.le,
    "≥": operator.ge,
}
SPLIT = re.compile(r"[<>]=?|[≤≥]|[^\s<>≤≥]+")


@dataclass(frozen=True)
class Condition:
    """What a job must meet; one that was not measured does not."""

    measure: Measure
    compare: str
    limit: float

    def holds(self, job: Job) -> bool:
        """Whether a job meets it."""
        value = self.measure.value(job)
        return value is not None and COMPARE[self.compare](value, self.limit)


@dataclass(frozen=True)
class Rule:
    """A rule, read.

    Args:
        text: As it was typed.
        largest: Whether the largest value is the best.
        measure: What is compared.
        conditions: What a job must meet to be compared at all.
    """

    text: str
    largest: bool
    measure: Measure
    conditions: tuple[Condition, ...]

    @classmethod
    def read(cls, text: str) -> Rule:
        """Reads a rule. Raises ConfigError that says what is allowed."""
        words = SPLIT.findall(text)
        if len(words) < 2 or words[0] not in ("min", "max") or words[2:3] not in ([], ["where"]):
            raise _wrong(text, "it does not begin with min or max, a metric, and where")
        conditions = []
        rest = words[3:] if words[2:] else []
        if words[2:] and len(rest) % 4 != 3:
            raise _wrong(text, "a condition is not METRIC OP NUMBER, or one is not joined by and")
        for i in range(0, len(rest), 4):
            name, compare, limit = rest[i : i + 3]
            if rest[i + 3 : i + 4] not in ([], ["and"]):
                raise _wrong(text, f"conditions are joined by {rest[i + 3]}")
            if compare not in COMPARE:
                raise _wrong(text, f"{compare} compares nothing", allowed=" ".join(COMPARE))
            conditions.append(Condition(_measure(text, name), compare, _number(text, limit)))
        return cls(text, words[0] == "max", _measure(text, words[1]), tuple(conditions))

    def best(self, sweep: Sweep) -> Job | None:
        """The best of the jobs that ended well, the first of several as good; None when none meets the conditions."""
        able = [
            (value, job)
            for job in sweep.jobs
            if job.status == "ok"
            and (value := self.measure.value(job)) is not None
            and not math.isnan(value)
            and all(c.holds(job) for c in self.conditions)
        ]
        choose = max if self.largest else min  # both keep the first of equals
        return choose(able, key=lambda pair: pair[0])[1] if able else None

    def applied(self, sweep: Sweep) -> Sweep:
        """The sweep with its best job marked."""
        job = self.best(sweep)
        return replace(sweep, best=Best(self.text, job.number if job else None))


def _measure(text: str, name: str) -> Measure:
    if name not in MEASURES:
        raise _wrong(text, f"{name} is no metric{nearest(name, MEASURES)}", allowed=", ".join(MEASURES))
    return MEASURES[name]


def _number(text: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise _wrong(text, f"{word} is no number", allowed="such as 0.01, 1e-3 or 20")
    return value


def _wrong(text: str, what: str, *, allowed: str = FORM) -> ConfigError:
    return ConfigError(Problem(f"the rule '{text}': {what}", allowed, "--select 'min latency where drop <= 0.01'"))
