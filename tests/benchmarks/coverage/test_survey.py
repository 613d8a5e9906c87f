"""The surveys of models: their lists, what is finished, and their pages."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import pytest

from benchmarks.coverage import __main__ as onnx_openvino
from benchmarks.coverage import coreml, coreml_ways, survey, ways
from benchmarks.coverage.models import LISTS, Subject, architectures
from benchmarks.coverage.survey import Cell, Row


def test_the_lists_have_the_models_that_they_should():
    names = (LISTS / "timm.txt").read_text().split()
    assert (len(architectures()), len(set(names))) == (200, 100)
    assert all(entry.keys() == {"class", "config"} for entry in architectures().values())


@pytest.mark.parametrize(("written", "ways"), [(onnx_openvino.written, ways.WAYS), (coreml.written, coreml_ways.WAYS)])
def test_what_is_finished_is_read_again_and_counted_by_family_and_cause(tmp_path, written, ways):
    one, other = Subject("timm", "a", ("model=timm",)), Subject("timm", "b", ("model=timm",))
    kept = {
        one: Row([Cell(True, "1e-07 (export)")] * len(ways), "a" * 40),
        other: Row([Cell(False, "the model rejects x")] * len(ways), "b" * 40),
    }
    lines = [json.dumps({"subject": asdict(s), **asdict(row)}) for s, row in kept.items()]
    (tmp_path / "rows").write_text("\n".join(lines))
    rows = survey.finished(tmp_path / "rows")
    assert rows == kept
    page = written(list(rows.items()), [Subject("timm", "c", ("model=timm",))])
    assert "**Not measured yet**: 1 of timm." in page
    assert "at aaaaaaaaaa (1 models), bbbbbbbbbb (1 models)." in page
    assert "| timm | 2 |" + " 50.0% |" * len(ways) in page
    assert "| the model rejects the inputs that were derived |" + " 1 |" * len(ways) in page


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
    assert survey.outcome(tmp_path / "run.json", "its process ended with 1") == cell


def test_a_survey_keeps_each_row_as_it_is_ready_and_says_whose_process_died(tmp_path):
    good, dies = Subject("nets", "good", ()), Subject("nets", "dies", ())
    rows: dict[Subject, Row] = {}
    survey.Survey(("a", "b"), leaves_or_dies, ()).convert([good, dies], tmp_path / "rows", rows)
    assert survey.finished(tmp_path / "rows") == rows
    assert list(rows[good].cells) == [Cell(True, "converts"), Cell(False, "its process ended with 0")]
    assert list(rows[dies].cells) == [Cell(False, "its process ended with 7")] * 2


def leaves_or_dies(subject, folder):
    """A way of a survey that leaves the record of one way alone, or ends the process."""
    if subject.name == "dies":
        sys.exit(7)
    ways.say(folder / "a", "")
