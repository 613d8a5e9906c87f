"""A mutation test of the check: what it would miss, by target, model and kind of fault. Makes docs/check_coverage.md.

    make bench-check                       everything; at most 90 minutes on two cores; goes on where it was stopped
    make bench-check ARGS=--quick          one in twelve, at most 10 minutes; printed and not written
    python -m benchmarks.check bert        one model, printed and not written
    python -m benchmarks.check --page      docs/check_coverage.md from what is known, without any work

What is known is kept in runs/bench-check, until the code that decides it changes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.check import runner
from benchmarks.check.models.subjects import SUBJECTS
from benchmarks.check.telling import cold, page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="", help="part of a model's name")
    parser.add_argument("--quick", action="store_true", help="one in twelve")
    parser.add_argument("--page", action="store_true", help="write the page from what is known, do nothing else")
    parser.add_argument("--folder", type=Path, help="where what is known is kept")
    arguments = parser.parse_args()
    usual = Path("runs") / ("bench-check-quick" if arguments.quick else "bench-check")
    folder = (arguments.folder or usual).resolve()
    subjects = [s for s in SUBJECTS if arguments.name in s.name]
    measured = folder / "cold.json"
    if not arguments.page:
        runner.run(subjects, runner.QUICK if arguments.quick else runner.WHOLE, folder)
        if not measured.exists():
            measured.write_text(json.dumps(cold.share()))
    current = runner.is_current(folder)
    took = json.loads(measured.read_text()) if current and measured.exists() else None
    text = page.written(runner.units(subjects, folder) if current else [], took, whole=not arguments.quick)
    if arguments.page or not (arguments.quick or arguments.name):
        page.PAGE.write_text(text)
        print(page.PAGE)
    else:
        print(text)


if __name__ == "__main__":
    main()
