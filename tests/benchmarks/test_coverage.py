"""benchmarks/coverage.py and its lists."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from benchmarks import coverage, coverage_ways
from benchmarks.coverage import Cell, Row
from benchmarks.coverage_models import LISTS, Subject, architectures


def test_the_lists_have_the_models_that_they_should():
    names = (LISTS / "timm.txt").read_text().split()
    assert (len(architectures()), len(set(names))) == (200, 100)
    assert all(entry.keys() == {"class", "config"} for entry in architectures().values())


def test_what_is_finished_is_read_again_and_counted_by_family_and_cause(tmp_path):
    one, other = Subject("timm", "a", ("model=timm",)), Subject("timm", "b", ("model=timm",))
    ways = len(coverage_ways.WAYS)
    kept = {
        one: Row([Cell(True, "1e-07 (export)")] * ways, "a" * 40),
        other: Row([Cell(False, "the model rejects x")] * ways, "b" * 40),
    }
    lines = [json.dumps({"subject": asdict(s), **asdict(row)}) for s, row in kept.items()]
    (tmp_path / "rows").write_text("\n".join(lines))
    rows = coverage.finished(tmp_path / "rows")
    assert rows == kept
    page = coverage.written(list(rows.items()), [Subject("timm", "c", ("model=timm",))])
    assert "**Not measured yet**: 1 of timm." in page
    assert "at aaaaaaaaaa (1 models), bbbbbbbbbb (1 models)." in page
    assert "| timm | 2 |" + " 50.0% |" * ways in page
    assert "| the model rejects the inputs that were derived |" + " 1 |" * ways in page


@pytest.mark.parametrize(
    ("outcome", "cell"),
    [
        (None, Cell(False, "its process ended with 1")),
        ({"status": "failed", "problems": [{"what": "no"}]}, Cell(False, "no")),
        ({"status": "ok", "stages": []}, Cell(True, "converts")),
        (
            {
                "status": "ok",
                "stages": [
                    {"notes": {}, "facts": {"capture": "trace"}},
                    {"notes": {"parity": {"cases": [{"max_rel": 1e-7}, {"max_rel": 2e-6}]}}},
                ],
            },
            Cell(True, "2e-06 (trace)"),
        ),
    ],
)
def test_a_cell_says_how_far_off_and_by_which_capture(tmp_path, outcome, cell):
    if outcome:
        (tmp_path / "run.json").write_text(json.dumps(outcome))
    assert coverage.outcome(tmp_path / "run.json", "its process ended with 1") == cell
