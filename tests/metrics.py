"""Metrics that a setting names by their path."""

from __future__ import annotations

from typing import Any


def worse_each_time(outputs: Any, labels: Any, calls: list[int] = [100]) -> float:  # noqa: B006
    """A metric that says less whenever it is asked, whatever the answers are."""
    calls[0] -= 1
    return float(calls[0])


def top1_of_many(outputs: Any, labels: Any) -> float:
    """A metric that takes more than one sample, as one over classes does."""
    if len(labels) < 2:
        raise ValueError("one sample is not many")
    return float((outputs["scores"].argmax(1) == labels).mean())
