"""How a ratio is told: beside the bound that we hold ourselves to, and whether it held."""

from __future__ import annotations

import math


def line(name: str, ratio: float, bound: float = math.inf) -> str:
    """ "cold / hand-written, wall       1.08   bound 1.30: held"; without a bound the ratio alone."""
    verdict = "" if math.isinf(bound) else f"   bound {bound:.2f}: {'held' if ratio <= bound else 'NOT HELD'}"
    return f"{name:<44} {ratio:6.2f}{verdict}"
