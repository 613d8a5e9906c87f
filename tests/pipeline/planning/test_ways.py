"""ways.py: which ways there are, and whose failure it was. That they are gone: tests/test_ways.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline import errors
from pipeline.errors import BackendMissing, CheckFailed, ConfigError, StageError, Stopped
from pipeline.planning import plan, ways
from pipeline.planning.ways import Refused, Served
from tests.pipeline.conftest import Check, Dock


@pytest.fixture
def dock(tmp_path):
    dock = Dock(tmp_path)
    check = {name: Check(dock.log) for name in ("check_export", "check_compile")}
    dock.stages = {
        **{n: dock.stages[n] for n in ("load", "record", "export")},
        "check_export": check["check_export"],
        **{n: dock.stages[n] for n in ("tidy", "compile")},
        "check_compile": check["check_compile"],
        "save": dock.stages["save"],
    }
    return dock


def refused(dock, stage, error=None, key="0" * 64):
    return Refused({}, dock.nodes(), stage, key, error or StageError(f"{stage}: no"))


def other(dock):
    """The graph of another way, which exports otherwise."""
    changed = Dock(dock.home)
    changed.stages = {**dock.stages, "export": replace(dock.stages["export"], text="by another")}
    return changed.nodes()


def test_the_last_group_changes_slowest_and_the_chosen_way_is_none_of_them():
    assert ways.alternatives({"capture": ["trace", "script"], "route": ["onnx"]}) == [
        {"capture": "trace"},
        {"capture": "script"},
        {"route": "onnx"},
        {"route": "onnx", "capture": "trace"},
        {"route": "onnx", "capture": "script"},
    ]
    assert ways.alternatives({}) == []


@pytest.mark.parametrize(
    ("stage", "error", "goes_on"),
    [
        ("export", StageError, True),
        ("compile", StageError, True),
        ("check_export", CheckFailed, True),
        ("check_compile", CheckFailed, False),  # the way was checked before: what came after changed the numbers
        ("record", StageError, False),  # no other way records otherwise
    ],
)
def test_a_failure_is_the_ways_where_another_differs_and_until_it_was_checked(dock, stage, error, goes_on):
    assert refused(dock, stage, error("no")).leaves_open(other(dock)) is goes_on


def test_a_way_that_comes_to_the_stage_that_failed_is_not_gone(dock):
    assert refused(dock, "export").also_refuses(dock.nodes())
    assert not refused(dock, "export").also_refuses(other(dock))


@pytest.mark.parametrize(
    ("error", "goes_on"),
    [(StageError, True), (CheckFailed, True), (Stopped, False), (ConfigError, False), (BackendMissing, False)],
)
def test_what_ended_a_stage_from_outside_says_nothing_of_the_way(error, goes_on):
    assert ways.may_go_on(error("no")) is goes_on


def test_all_that_were_refused_are_one_error_of_the_kind_of_the_first(dock):
    first = refused(dock, "check_export", CheckFailed("check_export: off\n  by far", command="this"))
    second = replace(refused(dock, "export"), changes={"capture": "trace"})
    error = ways.all_refused([first, second], ["capture=script: opset is 25"])
    assert error.exit_code == errors.CHECK_FAILED
    assert [str(p) for p in error.problems] == [
        "check_export: off\n  by far\n  try:     this",
        "capture=trace: export: no",
        "capture=script: opset is 25",
    ]


def test_what_served_is_found_again_for_the_stage_that_failed_and_for_no_other(dock):
    result = dock.run()
    dock.change("export", text="opset 19")
    steps = plan.make(dock.nodes(), dock.store, dock.world, damaged=set(), explain=False)
    (export,) = [s for s in steps if s.name == "export"]
    assert list(ways.served_before(dock.store, steps)) == []
    served = Served({"capture": "trace"}, ["export: no"])
    ways.keep(dock.store, [refused(dock, "export", key=export.key)], served, result.record["digest"])
    assert list(ways.served_before(dock.store, steps)) == [served]
    dock.change("export", text="opset 20")
    steps = plan.make(dock.nodes(), dock.store, dock.world, damaged=set(), explain=False)
    assert list(ways.served_before(dock.store, steps)) == []


def test_a_store_that_cannot_be_written_ends_no_run(dock, monkeypatch):
    result, store = dock.run(), dock.store

    def denied(*_):
        raise ConfigError("cannot be written")

    monkeypatch.setattr(store, "record", denied)
    ways.keep(store, [refused(dock, "export")], Served({"capture": "trace"}, ["export: no"]), result.record["digest"])
    assert not store.actions.has(ways.SERVED)
