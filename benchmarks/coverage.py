"""Which models reach a checked ONNX graph, by which capture: makes docs/coverage.md.

    make coverage                        everything; about half an hour on two cores
    python -m benchmarks.coverage timm   one family, printed and not written; --done FILE goes on where one was stopped

Each model is built with random weights and goes the way a user's goes, `python -m pipeline -m capture=export,trace`,
without simplification. Some share a process, since imports would take longer than most conversions do.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.coverage_models import Subject, subjects

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "coverage.md"
CAPTURES = ("export", "trace")
TOGETHER = 8
LONGEST_SECONDS = 1800


@dataclass(frozen=True)
class Cell:
    """What became of one model by one capture: the worst relative error, or why there is none."""

    ok: bool
    text: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wanted", nargs="?", default="", help="part of a family's or a model's name")
    parser.add_argument("--done", type=Path, help="a file that keeps what is finished, for a run that goes on later")
    asked = parser.parse_args()
    chosen = [s for s in subjects() if asked.wanted in s.family or asked.wanted in s.name]
    rows = finished(asked.done)
    open_ones = [s for s in chosen if s not in rows]
    batches = [open_ones[i : i + TOGETHER] for i in range(0, len(open_ones), TOGETHER)]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for ended in as_completed([pool.submit(convert, b) for b in batches]):
            for subject, cells in ended.result():
                told = (f"{c}: {cell.text}" for c, cell in zip(CAPTURES, cells, strict=True))
                print(f"{subject.family}, {subject.name}:", *told, flush=True)
                rows[subject] = cells
                if asked.done:
                    with asked.done.open("a") as f:
                        print(json.dumps([asdict(subject), [asdict(c) for c in cells]]), file=f)
    page = written([(s, rows[s]) for s in chosen])
    if asked.wanted:
        print(page)
    else:
        PAGE.write_text(page)


def finished(done: Path | None) -> dict[Subject, list[Cell]]:
    """The rows that a file keeps."""
    lines = done.read_text().splitlines() if done and done.exists() else []
    read = (json.loads(line) for line in lines)
    return {Subject(s["family"], s["name"], tuple(s["overrides"])): [Cell(**c) for c in cells] for s, cells in read}


def convert(batch: Sequence[Subject]) -> list[tuple[Subject, list[Cell]]]:
    """Runs some models by each capture, in a process of their own; one that dies is followed by one for each model."""
    with tempfile.TemporaryDirectory() as folder:
        lines = [list(_command_line(s, Path(folder) / str(n))) for n, s in enumerate(batch)]
        asked = Path(folder) / "asked.json"
        asked.write_text(json.dumps(lines))
        command = [sys.executable, "-m", "benchmarks.coverage_jobs", str(asked)]
        alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # as many of these run as there are cores
        last = f"not finished within {LONGEST_SECONDS} s"
        try:
            ended = subprocess.run(
                command, cwd=ROOT, env=alone, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
            )
            last = f"its process ended with {ended.returncode}"
        except subprocess.TimeoutExpired:
            pass
        jobs = [[Path(folder) / str(n) / str(c) / "run.json" for c in range(len(CAPTURES))] for n in range(len(batch))]
        if len(batch) > 1 and not all(job.exists() for pair in jobs for job in pair):
            return [row for subject in batch for row in convert([subject])]
        return [(s, [outcome(job, last) for job in pair]) for s, pair in zip(batch, jobs, strict=True)]


def _command_line(subject: Subject, folder: Path) -> Iterator[str]:
    yield from ("-m", *subject.overrides, "target=onnx", "model.weights=random", f"capture={','.join(CAPTURES)}")
    yield from ("~stages.simplify", "~stages.check_simplify", f"store={folder}/store")
    yield from (f"hydra.sweep.dir={folder}", "hydra.sweep.subdir=${hydra.job.num}")


def outcome(record: Path, otherwise: str) -> Cell:
    """What the run.json of a job says of it; `otherwise` where there is none."""
    try:
        told: dict[str, Any] = json.loads(record.read_text())
    except (OSError, ValueError):
        return Cell(False, otherwise)
    if told["status"] != "ok":
        problems = told.get("problems") or [{"what": otherwise}]
        return Cell(False, problems[0]["what"])
    checks = [s["notes"]["parity"] for s in told["stages"] if s["notes"].get("parity")]
    return Cell(True, f"{max(c['max_rel'] for c in checks[-1]['cases']):.0e}" if checks else "converts")


def written(rows: Sequence[tuple[Subject, Sequence[Cell]]]) -> str:
    """The page: a summary by family, then a table for each."""
    from pipeline.machine.world import library_version

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
            f"| {s.name} | {' | '.join(escaped(c.text) for c in cells)} |" for s, cells in rows if s.family == family
        ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """As a cell of a table, shortened."""
    one_line = " ".join(text.split())
    return (one_line if len(one_line) < 220 else f"{one_line[:219]}…").replace("|", "\\|")


if __name__ == "__main__":
    main()
