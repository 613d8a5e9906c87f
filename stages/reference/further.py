"""The questions of a reference beyond sizes: those that the model answers in a way that can be compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.errors import listed
from stages.portable.vendor_errors import first_line
from stages.reference import formulas
from stages.reference.cases import Case
from stages.reference.eager_model import Ask, EagerModel
from stages.reference.exact import ExactModel
from stages.reference.families import EXTREMES, SIZES
from stages.reference.questions import Question
from stages.reference.watch import Watch

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray[Any, Any]]

Take = Callable[[Any], dict[str, Any]]
# Numbers in the inputs of all families together: five families for a picture of 224 by 224.
ENOUGH = 3 * 2**18
# How far an answer may move, as a share of its largest, where inputs change by a rounding of float32.
NUDGE, MOVED = 2.0**-22, 2.0**-15
# Of an output's largest: an error of the file itself that a float32 tolerance would blame on the artifact.
MATTERS = 1e-5


def cases(
    questions: Iterable[Question], ask: Ask, take: Take, watch: Watch, most: float = math.inf
) -> tuple[list[Case], dict[str, str]]:
    """A case for each family with finite answers, and why others were not asked, by name.

    Args:
        questions: In the order in which they are asked.
        ask: The model: inputs to what it returns.
        take: Turns what it returns into outputs by name.
        watch: Records the rows of tables that are looked up.
        most: Numbers in the inputs of all questions; beyond that no more are asked.
    """
    answered: list[Case] = []
    not_asked: dict[str, str] = {}
    for question in questions:
        if question.elements > most:
            not_asked[question.label] = "its inputs are large, and other families found more; effort=thorough asks it"
            continue
        most -= question.elements
        if question.family == EXTREMES and not isinstance(ask, EagerModel):
            not_asked[question.label] = "a file does not show where it decides by rounding alone"
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
        answered.append(Case(question.label, question.inputs, answers, family=question.family, ties=list(watch.ties)))
    return answered, not_asked


def exactly(cases: Sequence[Case], exact: ExactModel, take: Take) -> list[Case]:
    """The cases with the model's answers in float64: for the smallest, then extremes, then others, within its limits.

    If one of them could not be answered, no case has any: a model that widens only in places proves nothing.
    """
    smallest = min((c for c in cases if c.family == SIZES), key=elements)
    others = sorted((c for c in cases if c.family != SIZES), key=lambda c: c.family != EXTREMES)
    exact_answers = {c.label: _of_one_shape(exact.answers(c.inputs, take), c) for c in (smallest, *others)}
    return [replace(c, exact={} if exact.why_not else exact_answers.get(c.label, {})) for c in cases]


def left_open(cases: Sequence[Case], ask: Ask, take: Take) -> list[Case]:
    """The cases with the errors of the model's other formulas, where there are answers in float64."""
    import numpy as np

    found = {}
    for case in (c for c in cases if c.exact):
        with formulas.other():
            answers = take(ask(case.inputs))
        apart = {n: answers[n] - v for n, v in case.exact.items() if answers[n].shape == v.shape}
        errors = {n: np.abs(d[np.isfinite(d)]) for n, d in apart.items()}
        shares = {n: [float(np.sqrt((e**2).mean())), float(e.max())] for n, e in errors.items() if e.size}
        found[case.label] = shares
    if isinstance(ask, EagerModel):
        ask.restore()
    return [replace(c, open=found.get(c.label, {})) for c in cases]


def better(cases: Sequence[Case], ask: Callable[[Arrays], Arrays]) -> list[Case]:
    """The cases with a file's answers where some of it computes in float64, if that makes a difference.

    This is no full float64 answer: where it hardly differs from the file's answer, the file's own error stays unknown.
    """
    import numpy as np

    improved = []
    for case in cases:
        answers = {n: v.astype("f8") for n, v in ask(case.inputs).items() if v.dtype.kind == "f"}
        apart = {n: float(np.abs(v - case.outputs[n]).max(initial=0)) for n, v in answers.items()}
        differing = {n: v for n, v in answers.items() if apart[n] > MATTERS * float(np.abs(v).max(initial=0))}
        improved.append(replace(case, exact=differing))
    return improved


def _of_one_shape(exact: Arrays, case: Case) -> Arrays:
    """Without the outputs whose shape depends on the last bits, such as detected boxes, and those with other NaN.

    A weight that was read by other means than an operator is NaN; see exact.py.
    """
    import numpy as np

    of_shape = {n: v for n, v in exact.items() if v.shape == case.outputs[n].shape}
    return {n: v for n, v in of_shape.items() if np.array_equal(np.isnan(v), np.isnan(case.outputs[n]))}


def determined(cases: Sequence[Case], ask: Ask, take: Take) -> tuple[list[Case], dict[str, str]]:
    """The cases without the extremes whose answer is unstable and not known in float64; and why those are left out."""
    not_asked = {
        c.label: "the model's answer changes with the last bits of the inputs"
        for c in cases
        if c.family == EXTREMES and not c.exact and not _is_steady(c, ask, take)
    }
    return [c for c in cases if c.label not in not_asked], not_asked


def elements(case: Case) -> int:
    """How many numbers the inputs have."""
    return sum(int(v.size) for v in case.inputs.values())


def _is_steady(case: Case, ask: Ask, take: Take) -> bool:
    import numpy as np

    rng = np.random.default_rng(elements(case))
    nudged = {
        n: (v * (1 + NUDGE * rng.choice([-1, 1], v.shape))).astype(v.dtype) if v.dtype.kind == "f" else v
        for n, v in case.inputs.items()
    }
    answers = take(ask(nudged))
    floats = {n: v for n, v in case.outputs.items() if v.dtype.kind == "f"}
    return all(
        answers[n].shape == v.shape
        and bool(np.abs(answers[n].astype("f8") - v).max(initial=0) <= MOVED * np.abs(v).max(initial=0))
        for n, v in floats.items()
    )


def _is_finite(values: Any) -> bool:
    import numpy as np

    return values.dtype.kind != "f" or bool(np.isfinite(values).all())
