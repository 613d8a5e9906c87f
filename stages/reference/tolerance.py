"""What may be asked for as a tolerance, which bundles carry, and so cannot say it itself."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.errors import Problem
from pipeline.stage import AtLeast, Between, Setting
from stages.portable.comparison import Tolerance

ERROR = AtLeast(0, "a number from 0 up")
RANGES = {
    "max_rel": ERROR,
    "p99_rel": ERROR,
    "cosine": Between(-1, 1, "a number from -1 to 1"),
    "top1": Between(0, 1, "a number from 0 to 1"),
}


class Within(Setting):
    """A tolerance that a comparison can use."""

    def problems(self, name: str, value: Tolerance) -> Iterable[Problem]:
        return [p for n, allowed in RANGES.items() for p in allowed.problems(f"{name}.{n}", getattr(value, n))]
