"""What becomes of many models by several ways: each in a process of its own, and what is finished is kept in a file."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import commit
from benchmarks.coverage.models import Subject, subjects

LONGEST_SECONDS = 1800  # the largest have 600 million parameters


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
        seconds: That its process took; 0 where that was not kept.
    """

    cells: Sequence[Cell]
    commit: str
    seconds: float = 0


@dataclass(frozen=True)
class Survey:
    """What becomes of each model by several ways.

    Args:
        ways: Their names; `run` leaves the run.json of each in a folder of its name.
        run: Takes a model and a folder, and has a process for itself.
        imported: The modules that a process has imported before it is given a model.
    """

    ways: Sequence[str]
    run: Callable[[Subject, Path], None]
    imported: Sequence[str]

    def convert(self, open_ones: Sequence[Subject], path: Path, rows: dict[Subject, Row]) -> None:
        """Converts the models that are not finished, and keeps each row as it is ready."""
        path.parent.mkdir(parents=True, exist_ok=True)
        at = commit.checked_out()
        processes = multiprocessing.get_context("forkserver")
        processes.set_forkserver_preload([*self.imported, self.run.__module__])
        os.environ["OMP_NUM_THREADS"] = "1"  # as many of these run as there are cores
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for ended in as_completed([pool.submit(self._row, processes, s) for s in open_ones]):
                subject, cells, seconds = ended.result()
                lines = (f"{way}: {cell.text}" for way, cell in zip(self.ways, cells, strict=True))
                print(f"{subject.family}, {subject.name}:", *lines, sep="\n    ", flush=True)
                rows[subject] = Row(cells, at, round(seconds, 1))
                with path.open("a") as f:
                    print(json.dumps({"subject": asdict(subject), **asdict(rows[subject])}), file=f)

    def _row(self, processes: Any, subject: Subject) -> tuple[Subject, list[Cell], float]:
        """What becomes of a model each way, in a process that may take only so long, and the seconds that it took."""
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            process = processes.Process(target=_within, args=(self.run, subject, Path(folder)))
            process.start()
            process.join(LONGEST_SECONDS)
            last = f"its process ended with {process.exitcode}"
            if process.is_alive():
                last = f"not finished within {LONGEST_SECONDS} s"
                process.kill()
                process.join()
            cells = [outcome(Path(folder) / way / "run.json", last) for way in self.ways]
            return subject, cells, time.perf_counter() - began


def _within(run: Callable[[Subject, Path], None], subject: Subject, folder: Path) -> None:
    """Runs with temporary files in a folder that goes: coremltools leaves a copy of each model."""
    (temporary := folder / "temporary").mkdir()
    tempfile.tempdir = os.environ["TMPDIR"] = str(temporary)
    run(subject, folder)


def command(description: str, survey: Survey, rows_path: Path, page_path: Path, write: Write) -> None:
    """Runs what was typed: converts what is not finished, and makes the page, which a part of the models only prints.

    Args:
        description: The text of --help.
        survey: What is done with each model.
        rows_path: The file that keeps what is finished.
        page_path: The page.
        write: Makes the page's text.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="", help="part of a family's or a model's name")
    parser.add_argument("--every", type=int, default=1, help="take every so manieth model alone")
    parser.add_argument("--rows", type=Path, default=rows_path, help="the file that keeps what is finished")
    parser.add_argument("--page", action="store_true", help="convert nothing: the page of what is finished")
    arguments = parser.parse_args()
    chosen = [s for s in subjects() if arguments.name in s.family or arguments.name in s.name][:: arguments.every]
    rows = finished(arguments.rows)
    if not arguments.page:
        survey.convert([s for s in chosen if s not in rows], arguments.rows, rows)
    text = write([(s, rows[s]) for s in chosen if s in rows], [s for s in chosen if s not in rows])
    if arguments.name or arguments.every > 1:
        print(text)
    else:
        page_path.write_text(text)


# The rows of a page, and the models that were not converted yet.
Write = Callable[[Sequence[tuple[Subject, Row]], Sequence[Subject]], str]


def finished(path: Path) -> dict[Subject, Row]:
    """The rows that a file keeps."""
    read = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {
        _subject(**r["subject"]): Row([Cell(**c) for c in r["cells"]], r["commit"], r.get("seconds", 0)) for r in read
    }


def _subject(family: str, name: str, overrides: Sequence[str]) -> Subject:
    return Subject(family, name, tuple(overrides))


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
