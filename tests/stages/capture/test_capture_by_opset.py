"""capture/capture_by_opset.py."""

from __future__ import annotations

import pytest
from harness import contents, module, record, run_stage, world
from nets import TwoOutputs

from stages.capture.capture_by_opset import CaptureByOpset
from stages.capture.capture_export import CaptureExport
from stages.capture.capture_trace import CaptureTrace
from stages.capture.format import EXPORTED, TORCHSCRIPT

BY_EXPORT, BY_TRACE = EXPORTED, TORCHSCRIPT


def by_opset(opset: int | None, store_up_to: int = 2**30) -> CaptureByOpset:
    return CaptureByOpset(opset, store_up_to)


@pytest.fixture
def both(tmp_path):
    reference = record(TwoOutputs(), tmp_path / "reference")
    return {"module": module(TwoOutputs()), "reference": reference}


@pytest.mark.parametrize(("opset", "kind"), [(7, BY_TRACE), (17, BY_TRACE), (18, BY_EXPORT), (None, BY_EXPORT)])
def test_the_plan_knows_which_capture_the_opset_calls_for(opset, kind):
    assert by_opset(opset).makes({}) is kind
    assert by_opset(opset).describe() == ("torch.jit.trace, since opset is " + str(opset) if opset in (7, 17) else "")


def test_opsets_on_one_side_share_a_capture(tmp_path):
    identities = [by_opset(n).identity(world(tmp_path)) for n in (13, 17, 18, 26)]
    assert identities[0] == identities[1] != identities[2] == identities[3]


@pytest.mark.parametrize(
    ("opset", "other"), [(18, CaptureExport(2**30)), (17, CaptureTrace())], ids=["export", "trace"]
)
def test_it_captures_as_the_stage_of_that_way(opset, other, both, tmp_path):
    result, same = run_stage(by_opset(opset), both, tmp_path / "made"), run_stage(other, both, tmp_path / "same")
    assert result.kind == same.kind
    assert result.facts == same.facts
    assert [p.name for p in result.folder.iterdir()] == [p.name for p in same.folder.iterdir()]
    if opset == 18:  # a trace is not repeatable
        assert contents(result.folder) == contents(same.folder)


def test_a_program_above_the_size_stays_in_memory(both, tmp_path):
    assert run_stage(by_opset(18, store_up_to=1), both, tmp_path / "made").folder is None


def test_an_opset_that_nobody_writes_is_refused():
    assert [(p.what, p.allowed) for p in by_opset(6).problems()] == [
        ("opset is 6, which no exporter writes", "7 to 26")
    ]


def test_a_size_below_nothing_is_refused():
    assert [p.what for p in by_opset(18, store_up_to=-1).problems()] == ["store_up_to is -1"]
