"""The questions of a reference beyond sizes: which of them the model answers such that they can be compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.errors import listed
from stages.portable.vendor_errors import first_line
from stages.reference.asked import Ask, EagerModel
from stages.reference.cases import Case
from stages.reference.exact import ExactModel
from stages.reference.families import EXTREMES, SIZES
from stages.reference.questions import Question
from stages.reference.watch import Watch

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray[Any, Any]]

Take = Callable[[Any], dict[str, Any]]
# Numbers of inputs that families may be altogether: five at a picture of 224 by 224.
ENOUGH = 3 * 2**18
# How far an answer may move, as a share of its largest, where inputs move by a rounding of float32.
NUDGE, MOVED = 2.0**-22, 2.0**-15
# Of an output's largest: an error of the file's own that a tolerance in float32 would take for another's.
MATTERS = 1e-5


def cases(
    asked: Iterable[Question], ask: Ask, take: Take, watch: Watch, most: float = math.inf
) -> tuple[list[Case], dict[str, str]]:
    """A case for each family with finite answers, and why others were not asked, by name.

    Args:
        asked: The questions.
        ask: The model: inputs to what it returns.
        take: Outputs by name of what it returns.
        watch: What sees the rows of tables that are looked up.
        most: Numbers of all questions' inputs, beyond which no more are asked.
    """
    found: list[Case] = []
    not_asked: dict[str, str] = {}
    for question in asked:
        if question.elements > most:
            not_asked[question.label] = "its inputs are large, and other families found more; effort=thorough asks it"
            continue
        most -= question.elements
        if question.family == EXTREMES and not isinstance(ask, EagerModel):
            not_asked[question.label] = "a file does not tell where it decides by rounding alone"
            continue
        try:
            with watch.of_ties():
                answers = take(ask(question.inputs))
        except Exception as e:  # a model raises anything at values that it was not made for
            not_asked[question.label] = f"the model rejects it: {first_line(e)}"
            continue
        if lacking := [n for n, v in answers.items() if not _is_finite(v)]:
            not_asked[question.label] = f"the model answers NaN or infinities: {listed(lacking)}"
            continue
        found.append(Case(question.label, question.inputs, answers, family=question.family, ties=list(watch.ties)))
    return found, not_asked


def exactly(cases: Sequence[Case], exact: ExactModel, take: Take) -> list[Case]:
    """The cases with what the model answers in float64: to the smallest, to extremes, to others, as far as it can.

    A model that could not answer on the way leaves none: where it widens here and there, nothing is known.
    """
    smallest = min((c for c in cases if c.family == SIZES), key=elements)
    others = sorted((c for c in cases if c.family != SIZES), key=lambda c: c.family != EXTREMES)
    found = {c.label: _of_one_shape(exact.answers(c.inputs, take), c) for c in (smallest, *others)}
    return [replace(c, exact={} if exact.why_not else found.get(c.label, {})) for c in cases]


def better(cases: Sequence[Case], ask: Callable[[Arrays], Arrays]) -> list[Case]:
    """The cases with what a file answers where some of it is computed in float64, as far as that makes a difference.

    It is no answer in float64: where it is next to what the file answers, nothing is known of the file's own error.
    """
    import numpy as np

    found = []
    for case in cases:
        answers = {n: v.astype("f8") for n, v in ask(case.inputs).items() if v.dtype.kind == "f"}
        apart = {n: float(np.abs(v - case.outputs[n]).max(initial=0)) for n, v in answers.items()}
        told = {n: v for n, v in answers.items() if apart[n] > MATTERS * float(np.abs(v).max(initial=0))}
        found.append(replace(case, exact=told))
    return found


def _of_one_shape(exact: Arrays, case: Case) -> Arrays:
    """Without the outputs whose shape hangs on the last bits: boxes that are found, or not."""
    return {n: v for n, v in exact.items() if v.shape == case.outputs[n].shape}


def determined(cases: Sequence[Case], ask: Ask, take: Take) -> tuple[list[Case], dict[str, str]]:
    """The cases without the extremes at which nothing says how far the model is determined and it is not, and why."""
    not_asked = {
        c.label: "the model's answer changes with the last bits of the inputs"
        for c in cases
        if c.family == EXTREMES and not c.exact and not _is_steady(c, ask, take)
    }
    return [c for c in cases if c.label not in not_asked], not_asked


def elements(case: Case) -> int:
    """How many numbers are asked about."""
    return sum(int(v.size) for v in case.inputs.values())


def _is_steady(case: Case, ask: Ask, take: Take) -> bool:
    import numpy as np

    rng = np.random.default_rng(elements(case))
    nudged = {
        n: (v * (1 + NUDGE * rng.choice([-1, 1], v.shape))).astype(v.dtype) if v.dtype.kind == "f" else v
        for n, v in case.inputs.items()
    }
    found = take(ask(nudged))
    floats = {n: v for n, v in case.outputs.items() if v.dtype.kind == "f"}
    return all(
        found[n].shape == v.shape
        and bool(np.abs(found[n].astype("f8") - v).max(initial=0) <= MOVED * np.abs(v).max(initial=0))
        for n, v in floats.items()
    )


def _is_finite(values: Any) -> bool:
    import numpy as np

    return values.dtype.kind != "f" or bool(np.isfinite(values).all())
