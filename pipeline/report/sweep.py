"""A sweep for the report: jobs over axes, the time spent, and the machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from pipeline.report.job import Job

SCHEMA = 1
# In the order in which a person wants to know of them.
STATUSES = ("ok", "planned", "failed", "interrupted", "lost", "not run")


@dataclass
class Spent:
    """Seconds of stage work, and of work that need not be done again.

    Args:
        built: What was built in this sweep.
        shared: Saved by results of other jobs of this sweep.
        earlier: Saved by results of earlier runs.
    """

    built: float = 0.0
    shared: float = 0.0
    earlier: float = 0.0

    def add(self, other: Spent) -> None:
        """Adds another's seconds."""
        self.built += other.built
        self.shared += other.shared
        self.earlier += other.earlier


@dataclass(frozen=True)
class Best:
    """The best job by a rule.

    Args:
        rule: The rule, as it was typed.
        number: The job; None when none meets the conditions.
    """

    rule: str
    number: int | None


@dataclass(frozen=True)
class Sweep:
    """One sweep.

    Args:
        started: When, ISO 8601; empty where no job can tell.
        command: What was typed, without the program.
        axes: Each swept key to its values, in their order.
        jobs: All of them, by number.
        drydock: Our version.
        git: The commit, of the first job that has one; see pipeline.machine.git.state.
        machines: Every machine that a job ran on, once; see pipeline.runs.manifest.machine.
        versions: Library to its version, or to all of them where jobs differ.
        best: The best job, where a rule was given.
    """

    started: str
    command: tuple[str, ...]
    axes: Mapping[str, tuple[str, ...]]
    jobs: tuple[Job, ...]
    drydock: str = ""
    git: Mapping[str, Any] | None = None
    machines: tuple[Mapping[str, Any], ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    best: Best | None = None

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many jobs have each status, of those that any has."""
        counts = {s: sum(job.status == s for job in self.jobs) for s in STATUSES}
        return {s: n for s, n in counts.items() if n}

    @cached_property
    def spent(self) -> dict[str, Spent]:
        """Stage to the seconds of all jobs."""
        built = {s.key for job in self.jobs for s in job.stages if s.how == "built"}
        spent: dict[str, Spent] = {}
        for stage in (s for job in self.jobs for s in job.stages):
            if stage.how != "hit":
                more = Spent(built=stage.seconds)
            elif stage.digest is None:  # in memory: nothing would have come of building it
                more = Spent()
            else:
                more = Spent(shared=stage.seconds) if stage.key in built else Spent(earlier=stage.seconds)
            spent.setdefault(stage.name, Spent()).add(more)
        return spent

    @cached_property
    def total(self) -> Spent:
        """The seconds of all stages of all jobs."""
        total = Spent()
        for spent in self.spent.values():
            total.add(spent)
        return total

    @property
    def plain(self) -> dict[str, Any]:
        """As sweep.json has it."""
        computed = {"counts": self.counts, "spent": {n: asdict(s) for n, s in self.spent.items()}}
        return {"schema": SCHEMA, **asdict(self), **computed}
