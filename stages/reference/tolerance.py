"""The ranges of a tolerance's fields. Bundles carry the class `Tolerance` itself, so they are not stated there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.errors import Problem
from pipeline.stage import Above, AtLeast, Between, OneOf, Setting
from stages.portable.comparison import Tolerance
from stages.reference.families import LEVELS

ERROR = AtLeast(0, "a number from 0 up")
RANGES: Mapping[str, Setting] = {
    "max_rel": ERROR,
    "p99_rel": ERROR,
    "cosine": Between(-1, 1, "a number from -1 to 1"),
    "top1": Between(0, 1, "a number from 0 to 1"),
    "differing": Between(0, 1, "a number from 0 to 1"),
    "noise": Above(0, "a number above 0, or null for none"),
    "families": OneOf(LEVELS),
}


class Within(Setting):
    """A tolerance that a comparison can use."""

    def problems(self, name: str, value: Tolerance) -> Iterable[Problem]:
        limits = {n: getattr(value, n) for n in RANGES}
        return [p for n, v in limits.items() if v is not None for p in RANGES[n].problems(f"{name}.{n}", v)]
