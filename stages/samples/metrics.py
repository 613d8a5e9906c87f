"""Metrics of answers: top-1, or a function of your own.

A function takes the outputs by name, [samples, …], and the labels, [samples, …], and returns a number; more is better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.errors import Problem, StageError, listed, nearest
from pipeline.stage import Code, World
from stages.interface import factory
from stages.interface.interface import says

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

TOP1 = "top1"


class Metric(Code):
    """TOP1, or the dotted path of a function, whose code is part of the key."""

    def problems(self, name: str, value: str) -> Iterable[Problem]:
        if value == TOP1 or "." in value.strip("."):
            return []
        allowed = f"{TOP1}, or the dotted path of a function of outputs and labels"
        return [Problem(f"{name} is '{value}'{nearest(value, [TOP1])}", allowed)]

    def identity(self, name: str, value: str, world: World) -> Any:
        return value if value == TOP1 else super().identity(name, value, world)


def measured(name: str, outputs: Mapping[str, Array], labels: Array, subject: str) -> float:
    """A metric of answers.

    Args:
        name: See `Metric`.
        outputs: The outputs by name, [samples, …].
        labels: [samples, …].
        subject: Whose answers they are, for messages.

    Raises:
        ConfigError: When the function cannot be imported.
        StageError: When it fails, or does not return a finite number.
    """
    metric: Callable[[Mapping[str, Any], Any], float] = (
        top1 if name == TOP1 else factory.find(name, "metric", "metric=my_pkg.metrics.f1")
    )
    try:
        value = float(metric(outputs, labels))
    except StageError:
        raise
    except Exception as e:  # a user's function raises anything
        shapes = listed(f"{n} {says(v.shape)}" for n, v in outputs.items())
        raise StageError(
            f"metric {name} failed on {subject}: {factory.message_of(e)}",
            allowed=f"a function that takes {shapes} by name, and labels {says(labels.shape)}",
        ) from e
    if not math.isfinite(value):
        raise StageError(f"metric {name} of {subject} is {value}", allowed="a finite number, more being better")
    return value


def top1(outputs: Mapping[str, Array], labels: Array) -> float:
    """The share of samples, in 0..1, whose largest score is at the label's place.

    Raises:
        StageError: When there is not one output of [samples, classes], or a label is none of them.
    """
    scores = [v for v in outputs.values() if v.ndim == 2 and v.shape[1] > 1]
    if len(scores) != 1:
        shapes = listed(f"{n} {says(v.shape)}" for n, v in outputs.items())
        raise StageError(
            f"top1 takes one output of scores, and there are {len(scores)}: {shapes}",
            allowed="one output of [samples, classes]",
            command="a metric of your own: stages.evaluate.metric=my_pkg.metrics.top1",
        )
    classes = scores[0].shape[1]
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
        raise StageError(
            f"labels of shape {says(labels.shape)}, {labels.dtype}, from {labels.min()} to {labels.max()}",
            allowed=f"a whole number from 0 to {classes - 1} for each sample: the model tells {classes} classes apart",
        )
    return float((scores[0].argmax(axis=1) == labels).mean())
