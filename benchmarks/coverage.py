"""Which models reach a checked ONNX graph, by which capture: makes docs/coverage.md.

    make coverage                        everything; about an hour on two cores
    python -m benchmarks.coverage timm   one family, printed and not written

Each model is built with random weights and goes the way a user's goes: `python -m pipeline -m capture=export,trace`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.coverage_models import Subject, subjects

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "coverage.md"
CAPTURES = ("export", "trace")
LONGEST_SECONDS = 1200


@dataclass(frozen=True)
class Cell:
    """What became of one model by one capture: the worst relative error, or why there is none."""

    ok: bool
    text: str


def main() -> None:
    wanted = " ".join(sys.argv[1:])
    chosen = [s for s in subjects() if wanted in s.family or wanted in s.name]
    rows: list[tuple[Subject, list[Cell]]] = []
    with ThreadPoolExecutor(max_workers=max((os.cpu_count() or 1) // 2, 1)) as pool:
        for subject, cells in zip(chosen, pool.map(convert, chosen), strict=True):
            print(subject.family, subject.name, *(f"{c}: {cell.text}" for c, cell in zip(CAPTURES, cells, strict=True)))
            sys.stdout.flush()
            rows.append((subject, cells))
    page = written(rows)
    if wanted:
        print(page)
    else:
        PAGE.write_text(page)


def convert(subject: Subject) -> list[Cell]:
    """Runs one model by each capture, in a process and a store of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "pipeline", "-m", *subject.overrides),
            *("target=onnx", "model.weights=random", f"capture={','.join(CAPTURES)}"),
            *(f"store={folder}/store", f"hydra.sweep.dir={folder}/jobs", "hydra.sweep.subdir=${hydra.job.num}"),
        ]
        try:
            ended = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
            )
            last = (ended.stderr.strip().splitlines() or [f"ended with {ended.returncode}"])[-1]
        except subprocess.TimeoutExpired:
            last = f"not finished within {LONGEST_SECONDS} s"
        return [_cell(Path(folder) / "jobs" / str(n) / "run.json", last) for n in range(len(CAPTURES))]


def _cell(record: Path, otherwise: str) -> Cell:
    try:
        told: dict[str, Any] = json.loads(record.read_text())
    except (OSError, ValueError):
        return Cell(False, otherwise)
    if told["status"] != "ok":
        problems = told.get("problems") or [{"what": otherwise}]
        return Cell(False, problems[0]["what"])
    checks = [s["notes"]["parity"] for s in told["stages"] if s["notes"].get("parity")]
    return Cell(True, f"{max(c['max_rel'] for c in checks[-1]['cases']):.0e}")


def written(rows: Sequence[tuple[Subject, Sequence[Cell]]]) -> str:
    """The page: a summary by family, then a table for each."""
    from pipeline.world import library_version

    versions = ", ".join(f"{m} {library_version(m)}" for m in ("torch", "torchvision", "timm", "transformers", "onnx"))
    families = list(dict.fromkeys(s.family for s, _ in rows))
    lines = [
        "# Which models reach a checked ONNX graph",
        "",
        "Made by `make coverage`, not by hand. Each model has random weights, is converted to ONNX at opset 18 and",
        "checked with onnxruntime against PyTorch at batches of 1, 2 and 3 (transformers: 1, 2, 3 and 8, and four",
        "lengths of text or sound; detectors: one image). A number is the worst relative error; a sentence is what the",
        "run said when it ended.",
        f"Measured with {versions}.",
        "",
        "| family | models | " + " | ".join(f"capture={c}" for c in CAPTURES) + " | either |",
        "| --- | ---: |" + " ---: |" * (len(CAPTURES) + 1),
    ]
    for family in families:
        of_family = [cells for s, cells in rows if s.family == family]
        counts = [sum(cells[i].ok for cells in of_family) for i in range(len(CAPTURES))]
        either = sum(any(c.ok for c in cells) for cells in of_family)
        lines.append(f"| {family} | {len(of_family)} | {' | '.join(map(str, counts))} | {either} |")
    for family in families:
        lines += ["", f"## {family}", "", "| model | " + " | ".join(CAPTURES) + " |"]
        lines.append("| --- |" + " --- |" * len(CAPTURES))
        lines += [
            f"| {s.name} | {' | '.join(_escaped(c.text) for c in cells)} |" for s, cells in rows if s.family == family
        ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    one_line = " ".join(text.split())
    return (one_line if len(one_line) < 220 else f"{one_line[:219]}…").replace("|", "\\|")


if __name__ == "__main__":
    main()
