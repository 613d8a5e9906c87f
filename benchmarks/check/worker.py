"""Judges the mutants of one subject, for each of its targets, in a process of its own.

    python -m benchmarks.check.worker bert runs/bench-check onnx=200 openvino=80 coreml=80 seeds=3

What it finds out goes to the files of results.py. A mutant may end this process: the next one goes on behind it.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from benchmarks.check import converted as converting
from benchmarks.check.converted import Converted
from benchmarks.check.faults.mutant import chosen
from benchmarks.check.judging.judge import Judge, failed
from benchmarks.check.models.subjects import BY_NAME, Subject
from benchmarks.check.results import Right, Unit
from pipeline.errors import CheckFailed
from stages.reference import cases


def main() -> None:
    name, folder, *options = sys.argv[1:]
    limits = {key: int(number) for key, number in (t.split("=") for t in options)}
    subject = BY_NAME[name]
    for target in subject.targets:
        unit = Unit.read(name, target, Path(folder))
        if not unit.finished:
            with tempfile.TemporaryDirectory() as temporary, converting.quiet(Path(folder) / f"{name}-{target}.log"):
                try:
                    judge_all(subject, unit, limits[target], limits["seeds"], Path(temporary))
                except Exception as e:  # vendors raise anything; the table says what could not be made
                    traceback.print_exc()
                    unit.write(broken=f"{type(e).__name__}: {e}"[:600])
            unit.write(finished=True)


def judge_all(subject: Subject, unit: Unit, most: int, seeds: int, folder: Path) -> None:
    """What is left to do of one artifact."""
    format_of: Any = importlib.import_module(f"benchmarks.check.faults.{unit.target}.planting")
    converted = converting.make(subject, unit.target, folder)
    judge = Judge(subject, converted, format_of.save)
    file = converted.artifact.file
    possible = format_of.mutants(file, subject, (judge.example, judge.another))
    mutants = chosen(possible, most, f"{subject.name} to {unit.target}")
    unit.write(planned=len(mutants))
    if unit.right is None:
        comparisons, alarms = alarms_of(converted, seeds, folder)
        unit.write(right=vars(Right(len(judge.usable), judge.tried, comparisons, alarms)))
    for number, mutant in enumerate(m for m in mutants if m.name not in unit.judged):
        unit.begin(mutant)
        unit.end(mutant, judge.of(mutant.apply, format_of.read(file), folder / f"mutant-{number}"))


def alarms_of(converted: Converted, seeds: int, folder: Path) -> tuple[int, list[str]]:
    """How many comparisons the check makes of the right artifact, by so many seeds, and those that fail."""
    comparisons, alarms = 0, []
    for seed in range(seeds):
        reference = converting.recorded_again(converted, seed, folder / f"seed-{seed}")
        comparisons += sum(len(case.outputs) for case in cases.read(reference))
        (folder / f"check-{seed}").mkdir()
        try:
            converted.check.run({"artifact": converted.artifact, "reference": reference}, folder / f"check-{seed}")
        except CheckFailed as e:
            alarms += [f"seed {seed}, {question}, {output}" for question, output in failed(e)] or [str(e)[:200]]
    return comparisons, alarms


if __name__ == "__main__":
    main()
