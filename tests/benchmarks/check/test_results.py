"""What was found out is kept, and a process that ended at a mutant is gone on behind."""

from __future__ import annotations

from benchmarks.check.faults.mutant import Mutant
from benchmarks.check.judging.judge import EQUIVALENT, KILLED, MISSED, STILLBORN, Verdict
from benchmarks.check.results import Right, Unit
from benchmarks.check.telling import page, table

WEIGHTS, AXIS = Mutant("weights", "MatMul 1: x1.1", print), Mutant("axis", "Softmax 2: 1 to 0", print)


def test_a_run_goes_on_where_it_was(tmp_path):
    unit = Unit.read("bert", "onnx", tmp_path)
    unit.write(planned=9)
    unit.write(right=vars(Right(204, 230, 12, ["seed 1, min, y"])))
    unit.begin(WEIGHTS)
    unit.end(WEIGHTS, Verdict(KILLED, True, ["min"]))
    again = Unit.read("bert", "onnx", tmp_path)
    assert again == unit_as(unit, planned=9, right=Right(204, 230, 12, ["seed 1, min, y"]))
    assert again.judged[WEIGHTS.name].verdict == Verdict(KILLED, True, ["min"])


def unit_as(unit, **fields):
    for name, value in fields.items():
        setattr(unit, name, value)
    return unit


def test_a_mutant_that_ended_its_process_is_stillborn_and_not_tried_again(tmp_path):
    unit = Unit.read("bert", "onnx", tmp_path)
    unit.begin(WEIGHTS)
    assert Unit.read("bert", "onnx", tmp_path).judged[WEIGHTS.name].verdict.verdict == STILLBORN
    unit.begin(AXIS)  # by the next process
    assert Unit.read("bert", "onnx", tmp_path).judged.keys() == {WEIGHTS.name, AXIS.name}


def test_a_mutant_is_tried_again_where_the_time_was_up(tmp_path):
    unit = Unit.read("bert", "onnx", tmp_path)
    unit.begin(WEIGHTS)
    unit.leave()
    assert Unit.read("bert", "onnx", tmp_path).judged == {}


def test_a_line_that_was_cut_off_is_passed_over(tmp_path):
    unit = Unit.read("bert", "onnx", tmp_path)
    unit.end(AXIS, Verdict(EQUIVALENT))
    with unit.path.open("a") as f:
        f.write('{"kind": "wei')
    assert Unit.read("bert", "onnx", tmp_path).judged.keys() == {AXIS.name}


def test_the_rate_leaves_out_what_is_no_fault(tmp_path):
    unit = Unit.read("bert", "onnx", tmp_path)
    for number, (verdict, before) in enumerate([(KILLED, True), (KILLED, False), (MISSED, False), (EQUIVALENT, False)]):
        unit.end(Mutant("weights", str(number), print), Verdict(verdict, before, ["min"]))
    assert table.rate(unit.judged.values()) == 2 / 3
    assert table.rate(unit.judged.values(), before=True) == 1 / 3
    page_text = page.written([unit], None, whole=True)
    assert "| bert (few) | 4 | 0 | 1 | 2 | 1 | 66.7 % | 33.3 % |" in page_text
    assert "Not finished" in page_text


def test_a_page_without_a_run_has_no_figures(tmp_path):
    page_text = page.written([Unit.read("bert", "onnx", tmp_path)], None, whole=True)
    assert "No run was made yet" in page_text
    assert "killed | missed" not in page_text
