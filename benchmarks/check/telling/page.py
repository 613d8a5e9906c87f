"""Makes docs/check_coverage.md: what the check asks and why, and what `make bench-check` measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.check.judging.probes import LEAST
from benchmarks.check.judging.yardstick import CEILING, TIMES
from benchmarks.check.models.subjects import SUBJECTS
from benchmarks.check.results import Unit
from benchmarks.check.telling import real_faults, table

PAGE = Path(__file__).resolve().parents[3] / "docs" / "check_coverage.md"
LONGEST_LIST = 40
INTRODUCTION = """\
# What the check asks, and what it would miss

Made by `make bench-check`, not by hand.

Every artifact is asked what the PyTorch model was asked, and its answers are compared. A check that asks friendly
questions passes wrong artifacts: converters and runtimes break at zeros, at ties, at masked rows, at sizes in an order
that the example did not have. So the questions are chosen by where faults were found, here and by others.

## What is asked, and for which fault

"""
METHOD = """\

## How it is measured

Faults are planted, one at a time, in artifacts that are right: {models} small models with weights drawn to look
trained (heavy tails, measured statistics of batch norms), converted by the stages of a real run to ONNX, OpenVINO and
Core ML. A fault is what a converter does: an axis, a padding, a mode, an epsilon, a constant, a weight, a type, an
operator that is dropped or swapped, an index off by one, a size that was kept, a mask that counts for nothing, a range
that is cut, outputs that are mixed up, a wrong answer at sizes in a relation. Each is then given to the stage `check`,
with its default settings.

- **killed**: the check fails. **stillborn**: the artifact never loads, or runs at none of four sizes; it counts for
  nothing.
- **missed**: the check passes, and one of at least {least} varied inputs tells the artifact from the model: the root
  mean square of its error against the model in float64 is more than {times} times the model's own float32 error there,
  or than {times} times 2⁻²² of the output's size, where that is more; or its largest error is beyond {ceiling:g} of the
  output's largest value, where the model is determined that well; or whole numbers differ. Only inputs count at which
  the right artifact agrees by the same bound and the model's answer is finite.
- **equivalent**: none of them tells it apart.
- **before**: the share that the check of before found, with the sizes example, min, odd and max, one draw each, max_rel
  1e-4, p99_rel 5e-5 and cosine 0.999999: every fault is judged by that, too.

Rates of rows with fewer than 30 mutants (few) say little. Mutants of one graph are not independent.

    make bench-check                   the whole: at most 90 minutes on two cores; stopped, it goes on where it was
    make bench-check ARGS=--quick      one in twelve, at most 10 minutes; printed, not written here

## Measured

"""


def written(units: Sequence[Unit], cold: Mapping[str, float] | None, *, whole: bool) -> str:
    """The page.

    Args:
        units: What is known.
        cold: What a cold run took; None where none was measured.
        whole: Whether this was meant to be the whole, and not the quick one.
    """
    text = INTRODUCTION + "\n".join(real_faults.table()) + "\n"
    text += METHOD.format(models=len(SUBJECTS), least=LEAST, times=TIMES, ceiling=CEILING)
    return text + "\n".join(_measured(units, cold, whole=whole)) + "\n"


def _measured(units: Sequence[Unit], cold: Mapping[str, float] | None, *, whole: bool) -> list[str]:
    from pipeline.machine.world import library_version

    if not any(u.judged for u in units):
        return ["No run was made yet with the check as it is: nothing is known."]
    libraries = ("torch", "onnxruntime", "openvino", "coremltools")
    versions = ", ".join(f"{name} {library_version(name)}" for name in libraries)
    lines = [_extent(units, whole=whole), f"Measured with {versions}.", ""]
    lines += [f"- {u.subject} to {table.NAMES[u.target]} could not be made: {u.broken}" for u in units if u.broken]
    lines += [""] if any(u.broken for u in units) else []
    lines += [*table.written(units), "", "### Right artifacts", "", *_right(units), *_cold(cold)]
    missed = table.missed(units)
    if missed:
        more = f", {LONGEST_LIST} of them" if len(missed) > LONGEST_LIST else ""
        step = max(1, len(missed) // LONGEST_LIST)
        lines += ["", f"### What was missed{more}", "", *(f"- {m}" for m in missed[::step][:LONGEST_LIST])]
    return lines


def _extent(units: Sequence[Unit], *, whole: bool) -> str:
    judged, planned = sum(len(u.judged) for u in units), sum(u.planned for u in units)
    if not whole:
        return f"A quick run, {judged} mutants: **the whole was not run** with the check as it is."
    if all(u.finished for u in units):
        return f"The whole, {judged} mutants."
    return f"**Not finished**: {judged} mutants of the {planned} planned so far."


def _right(units: Sequence[Unit]) -> list[str]:
    comparisons, alarms = table.false_alarms(units)
    results = [u.right for u in units if u.right is not None]
    if not results:
        return ["Not measured."]
    least, most = min(r.usable for r in results), max(r.tried for r in results)
    return [
        f"False alarms: {len(alarms)} of {comparisons} comparisons of right artifacts with the model fail.",
        "",
        *(f"- {alarm}" for alarm in alarms[:LONGEST_LIST]),
        *([""] if alarms else []),
        f"Equivalence was decided by {least} inputs or more of each artifact; up to {most} were drawn for that.",
    ]


def _cold(cold: Mapping[str, float] | None) -> list[str]:
    if cold is None:
        return ["", "What share of a cold run the checks take was not measured."]
    asking = cold["reference"] + cold["checks"]
    text = f"Of a cold run of ResNet-50 to OpenVINO ({cold['whole']:.1f} s), reference and checks take {asking:.1f} s:"
    return ["", f"{text} {100 * asking / cold['whole']:.0f} %."]
