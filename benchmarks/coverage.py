"""Which models reach a checked ONNX graph and OpenVINO IR, here and by plain converters: makes docs/coverage.md.

    make coverage                                       everything; at most three hours on two cores
    python -m benchmarks.coverage timm                  a part of a family's or model's name, printed and not written
    python -m benchmarks.coverage --every 5 transformers    every fifth of these
    python -m benchmarks.coverage --page                the page alone, of what is finished

What is finished is kept in benchmarks/architectures/coverage.jsonl, or --rows FILE, with the commit that it was
converted at, and a run goes on where one was stopped, on another machine too: commit the file, and delete a model's
line to have it converted again. Each model has random weights and goes
the way of a user, by the default route and capture; a transformers model is saved to a folder, and the command is given
that. Beside it torch.onnx.export and openvino.convert_model, called as their guides have it for the same example and
the same dynamic dimensions, and held to the same answers. Each model has a process of its own, forked from one that has
imported everything.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import commit, coverage_ways
from benchmarks.coverage_models import Subject, subjects

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "coverage.md"
ROWS = Path(__file__).parent / "architectures" / "coverage.jsonl"
LONGEST_SECONDS = 900
IMPORTED = ["torch", "torch._dynamo", "torch.onnx", "torchvision", "timm", "transformers", "onnx", "onnxruntime"]
IMPORTED += ["onnxscript", "openvino", "pipeline.cli"]


@dataclass(frozen=True)
class Cell:
    """What became of one model one way: the worst relative error, or why there is none."""

    ok: bool
    text: str


@dataclass(frozen=True)
class Row:
    """What became of one model.

    Args:
        cells: One for each way.
        commit: That was checked out.
    """

    cells: Sequence[Cell]
    commit: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="", help="part of a family's or a model's name")
    parser.add_argument("--every", type=int, default=1, help="take every so manieth model alone")
    parser.add_argument("--rows", type=Path, default=ROWS, help="the file that keeps what is finished")
    parser.add_argument("--page", action="store_true", help="convert nothing: the page of what is finished")
    arguments = parser.parse_args()
    chosen = [s for s in subjects() if arguments.name in s.family or arguments.name in s.name][:: arguments.every]
    rows = finished(arguments.rows)
    if not arguments.page:
        convert([s for s in chosen if s not in rows], arguments.rows, rows)
    page = written([(s, rows[s]) for s in chosen if s in rows], [s for s in chosen if s not in rows])
    if arguments.name or arguments.every > 1:
        print(page)
    else:
        PAGE.write_text(page)


def convert(open_ones: Sequence[Subject], path: Path, rows: dict[Subject, Row]) -> None:
    """Converts the models that are not finished, each in a process of its own, and keeps each row as it is ready."""
    path.parent.mkdir(parents=True, exist_ok=True)
    at = commit.checked_out()
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(IMPORTED)
    os.environ["OMP_NUM_THREADS"] = "1"  # as many of these run as there are cores
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for ended in as_completed([pool.submit(row, processes, s) for s in open_ones]):
            subject, cells = ended.result()
            lines = (f"{way}: {cell.text}" for way, cell in zip(coverage_ways.WAYS, cells, strict=True))
            print(f"{subject.family}, {subject.name}:", *lines, sep="\n    ", flush=True)
            rows[subject] = Row(cells, at)
            with path.open("a") as f:
                print(json.dumps({"subject": asdict(subject), **asdict(rows[subject])}), file=f)


def finished(path: Path) -> dict[Subject, Row]:
    """The rows that a file keeps."""
    read = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {_subject(**r["subject"]): Row([Cell(**c) for c in r["cells"]], r["commit"]) for r in read}


def _subject(family: str, name: str, overrides: Sequence[str]) -> Subject:
    return Subject(family, name, tuple(overrides))


def row(processes: Any, subject: Subject) -> tuple[Subject, list[Cell]]:
    """What becomes of a model each way, in a process that may take only so long."""
    with tempfile.TemporaryDirectory() as folder:
        process = processes.Process(target=coverage_ways.run, args=(subject, Path(folder)))
        process.start()
        process.join(LONGEST_SECONDS)
        last = f"its process ended with {process.exitcode}"
        if process.is_alive():
            last = f"not finished within {LONGEST_SECONDS} s"
            process.kill()
            process.join()
        return subject, [outcome(Path(folder) / way / "run.json", last) for way in coverage_ways.WAYS]


def outcome(record: Path, otherwise: str) -> Cell:
    """What the run.json of a job says of it; `otherwise` where there is none."""
    try:
        record_json: dict[str, Any] = json.loads(record.read_text())
    except (OSError, ValueError):
        return Cell(False, otherwise)
    if record_json["status"] != "ok":
        problems = record_json.get("problems") or [{"what": otherwise}]
        return Cell(False, problems[0]["what"])
    checks = [s["notes"]["parity"] for s in record_json["stages"] if s["notes"].get("parity")]
    if not checks:
        return Cell(True, "converts")
    by = next((s["facts"]["capture"] for s in record_json["stages"] if s.get("facts", {}).get("capture")), "")
    return Cell(True, f"{max(c['max_rel'] for c in checks[-1]['cases']):.0e}" + (f" ({by})" if by else ""))


# What a sentence of a failure is about, the first that fits; the rest are other.
CAUSES = {
    "its inputs are not known": "nothing is known of",
    "the model rejects the inputs that were derived": "the model rejects",
    "no function of its inputs: it draws random numbers": "answers otherwise",
    "answers the same to every input": "proves nothing",
    "torch.export cannot capture it": "torch.export cannot|cannot be dynamic|specialized|data-dependent",
    "an operator has no translation": "no translation|not translate|operator|cannot write this|Unsupported",
    "a branch of a trace goes another way": "another way|branch",
    "the artifact does not agree": "does not agree|differs|off by|instead of",
    "its process died": "process ended|signal",
    "not finished in time": "not finished within",
}


def cause(text: str) -> str:
    """The kind of a failure, of the sentence that says what is wrong."""
    return next((kind for kind, words in CAUSES.items() if re.search(words, text)), "other")


def _not_measured(open_ones: Sequence[Subject]) -> list[str]:
    """A sentence on the models that were not converted yet; none where all were."""
    counts = ", ".join(f"{count} of {family}" for family, count in Counter(s.family for s in open_ones).items())
    return ["", f"**Not measured yet**: {counts}."] if open_ones else []


def written(rows: Sequence[tuple[Subject, Row]], open_ones: Sequence[Subject] = ()) -> str:
    """The page: a summary by family, the causes of what is missed, then a table for each family.

    Args:
        rows: Each model that was converted, and what became of it.
        open_ones: The models that were not converted yet.
    """
    from pipeline.machine.world import library_version

    names = ("torch", "torchvision", "timm", "transformers", "onnx", "openvino")
    versions = ", ".join(f"{m} {library_version(m)}" for m in names)
    commits = ", ".join(f"{at[:10]} ({count} models)" for at, count in Counter(r.commit for _, r in rows).items())
    families = list(dict.fromkeys(s.family for s, _ in rows))
    ways = list(coverage_ways.WAYS)
    lines = [
        "# Which models reach a checked ONNX graph and a checked OpenVINO IR",
        "",
        "Made by `make coverage`, not by hand. Each model is random and goes the way of a user: `target=onnx`,",
        "`target=openvino`, `target=openvino route=direct`, by the default capture, each held to PyTorch at many",
        "sizes of `dims`. A transformers model is saved to a folder as `save_pretrained` does it, and the command is",
        "given the folder. A number is the worst relative error; a sentence is what the run said in the end. Beside it",
        "the plain converters, given the same example and the same dynamic dimensions, and held to the same answers.",
        f"Measured with {versions}, at {commits}.",
        *_not_measured(open_ones),
        "",
        "| family | models | " + " | ".join(ways) + " |",
        "| --- | ---: |" + " ---: |" * len(ways),
    ]
    for family in families:
        of_family = [r.cells for s, r in rows if s.family == family]
        shares = [sum(cells[i].ok for cells in of_family) / len(of_family) for i in range(len(ways))]
        lines.append(f"| {family} | {len(of_family)} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    lines += [
        "",
        "## What is missed, by kind",
        "",
        "| cause | " + " | ".join(ways) + " |",
        "| --- |" + " ---: |" * len(ways),
    ]
    missed = [Counter(cause(r.cells[i].text) for _, r in rows if not r.cells[i].ok) for i in range(len(ways))]
    lines += [
        f"| {kind} | {' | '.join(str(m[kind]) for m in missed)} |"
        for kind in (*CAUSES, "other")
        if any(m[kind] for m in missed)
    ]
    for family in families:
        lines += ["", f"## {family}", "", "| model | " + " | ".join(ways) + " |", "| --- |" + " --- |" * len(ways)]
        lines += [
            f"| {s.name} | {' | '.join(escaped(c.text) for c in r.cells)} |" for s, r in rows if s.family == family
        ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """As a cell of a table, shortened."""
    one_line = " ".join(text.split())
    return (one_line if len(one_line) < 220 else f"{one_line[:219]}…").replace("|", "\\|")


if __name__ == "__main__":
    main()
