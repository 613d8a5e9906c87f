"""Metrics that a setting names by their path."""

from __future__ import annotations

from typing import Any


def worse_each_time(outputs: Any, labels: Any, calls: list[int] = [100]) -> float:  # noqa: B006
    """A metric that returns less at each call, whatever the outputs are."""
    calls[0] -= 1
    return float(calls[0])


def top1_of_many(outputs: Any, labels: Any) -> float:
    """A metric that needs more than one sample, such as one over classes."""
    if len(labels) < 2:
        raise ValueError("one sample is not many")
    return float((outputs["scores"].argmax(1) == labels).mean())
