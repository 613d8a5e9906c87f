"""The measured tables of docs/check_coverage.md."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from benchmarks.check.judging.judge import EQUIVALENT, KILLED, MISSED, STILLBORN
from benchmarks.check.models.subjects import BY_NAME
from benchmarks.check.results import Judged, Unit

NAMES = {"onnx": "ONNX", "openvino": "OpenVINO", "coreml": "Core ML"}
MANY = 30  # mutants of one row from which on its rate means something
HEAD = ("mutants", "stillborn", "equivalent", "killed", "missed", "killed / (killed + missed)", "before")


def written(units: Sequence[Unit]) -> list[str]:
    """All tables, as lines of Markdown."""
    judged = [j for u in units for j in u.judged.values()]
    lines = ["### By target", "", *_table("target", judged, lambda j: NAMES[j.target], every=True)]
    lines += ["", "### By model", "", *_table("model", judged, lambda j: j.subject)]
    lines += ["", "### By kind of fault", "", *_table("kind", judged, lambda j: j.kind)]
    for target in NAMES:
        own = [j for j in judged if j.target == target]
        if own:
            lines += ["", f"### {NAMES[target]}, by model", "", *_table("model", own, lambda j: j.subject)]
            lines += ["", f"### {NAMES[target]}, by kind of fault", "", *_table("kind", own, lambda j: j.kind)]
    lines += ["", "### Which question finds what", "", *_by_question(judged)]
    return lines


def false_alarms(units: Iterable[Unit]) -> tuple[int, list[str]]:
    """How many comparisons were made of right artifacts, and those that failed, in words."""
    finished = [u for u in units if u.right is not None]
    comparisons = sum(u.right.comparisons for u in finished if u.right)
    return comparisons, [f"{u.subject} to {NAMES[u.target]}: {a}" for u in finished if u.right for a in u.right.alarms]


def missed(units: Iterable[Unit]) -> list[str]:
    """Every fault that was missed, with an input that shows it."""
    judgements = (j for u in units for j in u.judged.values() if j.verdict.verdict == MISSED)
    return [f"{j.subject} to {NAMES[j.target]}, {j.kind}: {j.what}. {'; '.join(j.verdict.by)}" for j in judgements]


def rate(judged: Iterable[Judged], *, before: bool = False) -> float | None:
    """The share of faults that are killed, or that the four cases of before find; None where there are none."""
    faults = [j for j in judged if j.counts]
    if not faults:
        return None
    return sum(j.verdict.before if before else j.verdict.verdict == KILLED for j in faults) / len(faults)


def _table(what: str, judged: Sequence[Judged], row: Callable[[Judged], str], *, every: bool = False) -> Iterator[str]:
    yield f"| {what} | {' | '.join(HEAD)} |"
    yield "| --- |" + " ---: |" * len(HEAD)
    rows = list(dict.fromkeys(row(j) for j in judged))
    for name in rows if every else sorted(rows):
        yield _row(name, [j for j in judged if row(j) == name])
    if len(rows) > 1:
        yield _row("all", judged)


def _row(name: str, judged: Sequence[Judged]) -> str:
    counted = Counter(j.verdict.verdict for j in judged)
    now, then = rate(judged), rate(judged, before=True)
    few = "" if len(judged) >= MANY else " (few)"
    figures = [len(judged), *(counted[v] for v in (STILLBORN, EQUIVALENT, KILLED, MISSED))]
    return f"| {name}{few} | {' | '.join(map(str, figures))} | {_percent(now)} | {_percent(then)} |"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _by_question(judged: Sequence[Judged]) -> Iterator[str]:
    killed = [j for j in judged if j.verdict.verdict == KILLED]
    by_mutant = [_questions(j) for j in killed]
    counts = Counter(question for questions in by_mutant for question in questions)
    alone = Counter(question for questions in by_mutant if len(questions) == 1 for question in questions)
    yield "| question | faults that it finds | that no other one finds |"
    yield "| --- | ---: | ---: |"
    for question, number in counts.most_common():
        yield f"| {question} | {number} | {alone[question]} |"


def _questions(judged: Judged) -> set[str]:
    """Those that found a fault; a dimension by any name is one."""
    dims = "|".join(BY_NAME[judged.subject].dims)
    return {re.sub(rf"\b({dims})\b", "a dimension", question) for question in judged.verdict.by}
