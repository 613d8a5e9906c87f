"""What may be asked for as a tolerance."""

from __future__ import annotations

import math
from dataclasses import asdict

from pipeline.errors import Problem
from stages.portable.comparison import Tolerance

RANGES = {"max_rel": (0.0, math.inf), "p99_rel": (0.0, math.inf), "cosine": (-1.0, 1.0), "top1": (0.0, 1.0)}


def problems(tolerance: Tolerance) -> list[Problem]:
    """The settings that no comparison could use."""
    return [
        Problem(
            f"tolerance.{name} is {value}",
            allowed=f"a number from {low:g}" + (f" to {high:g}" if math.isfinite(high) else " up"),
        )
        for name, value in asdict(tolerance).items()
        for low, high in [RANGES[name]]
        if not (math.isfinite(value) and low <= value <= high)
    ]
