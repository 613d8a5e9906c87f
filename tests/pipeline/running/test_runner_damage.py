"""Damaged or missing results: they are set aside, and rebuilt in the same run if a stage needs them."""

import shutil
from typing import ClassVar

import pytest

from pipeline.artifact import Kind
from pipeline.errors import StageError
from pipeline.running.runner import Runner
from stages.onnx.format import ONNX
from tests.pipeline.conftest import (
    STORED,
    Check,
    Export,
    Load,
    Quiet,
    Random,
    digests,
    flip,
    how,
)


def evict(dock, name):
    dock.object_of(name).rename(dock.home / f"evicted {name}")


@pytest.mark.parametrize("name", STORED)
def test_a_damaged_object_is_set_aside_and_rebuilt_in_the_same_run(dock, name):
    first = dock.run()
    damaged = dock.object_of(name)
    flip(next(p for p in sorted(damaged.rglob("*")) if p.is_file()))
    dock.ran()
    assert digests(dock.run()) == digests(first)
    assert name in dock.ran()
    assert len([*dock.store.root.glob(f"quarantine/{damaged.name}.*")]) == 1
    dock.assert_sound()


def test_damage_that_is_found_while_a_stage_reads_its_input_is_repaired(dock):
    first = dock.run()
    exported = dock.object_of("export")
    dock.ran()
    # After the plan has looked: a file too many, which only a thorough look finds.
    (exported / "intruder").write_text("x")
    dock.change("tidy", text="opset ")
    dock.run()
    assert dock.ran() == ["load", "export", "tidy", "compile", "save"]
    assert digests(first)["export"] == exported.name
    dock.assert_sound()


def test_damage_that_is_found_while_delivering_is_repaired(dock):
    dock.run()
    (dock.object_of("compile") / "intruder").write_text("x")
    dock.ran()
    dock.run()
    assert dock.ran() == ["save", "compile", "save"]
    assert sorted(p.name for p in dock.output.iterdir()) == ["artifact.json", "model.bin", "model.xml"]
    dock.assert_sound()


def a_bit(folder):
    flip(folder / "model.xml")


def a_file_too_many(folder):
    (folder / "intruder").touch()


class Rotten(Quiet):
    """A disk that harms an object as soon as it has been published."""

    def __init__(self, dock, harm):
        super().__init__()
        self.dock, self.harm, self.left = dock, harm, 20

    def finished(self, outcome):
        if outcome.name == "compile" and outcome.how == "built":
            self.left -= 1
            assert self.left, "the run would go on for ever"
            self.harm(self.dock.object_of("compile"))


@pytest.mark.parametrize("harm", [a_bit, a_file_too_many], ids=lambda f: f.__name__)
def test_a_store_that_damages_all_that_is_written_ends_the_run(dock, harm):
    with pytest.raises(StageError, match="damages what is written to it") as caught:
        dock.run(Rotten(dock, harm))
    assert "store=" in caught.value.problems[0].command


def test_an_evicted_object_that_nothing_needs_is_not_rebuilt(dock):
    dock.run()
    for name in ("record", "export", "tidy"):
        evict(dock, name)
    dock.ran()
    result = dock.run()
    assert dock.ran() == ["save"]
    assert how(result)["export"] == "hit"


def test_an_evicted_object_is_rebuilt_when_something_needs_it(dock):
    first = dock.run()
    for name in ("export", "tidy", "compile"):
        evict(dock, name)
    dock.ran()
    assert digests(dock.run()) == digests(first)
    assert dock.ran() == ["load", "export", "tidy", "compile", "save"]


def test_a_rebuilt_object_with_other_content_takes_the_place_of_the_one_that_is_gone(dock):
    dock.stages["export"] = Random(dock.log)
    dock.run()
    for name in ("export", "compile"):
        evict(dock, name)
    second = dock.run()
    assert digests(dock.run()) | {"load": None} == digests(second) | {"load": None}


class Remember(Load):
    """A second stage in memory, which runs while the inputs of another are brought together."""


class Compare(Export):
    consumes: ClassVar = {"module": frozenset({Kind.MODULE}), "model": frozenset({ONNX})}


def test_an_object_that_another_run_evicts_after_the_plan_looked_is_rebuilt(dock):
    dock.run()
    dock.stages["remember"] = Remember(dock.log, hook=lambda inputs: evict(dock, "export"))
    dock.stages["compare"] = Compare(dock.log)
    dock.needs["compare"] = ["remember", "export"]
    assert how(dock.run())["compare"] == "built"
    dock.assert_sound()


class Vouches(Check):
    """A check whose claim is part of what is delivered."""

    def make(self, inputs, folder):
        return inputs["artifact"].noting(claims={"agrees": True})


class Forgetful(Quiet):
    """A listener that removes the entries of a stage at its event."""

    def __init__(self, entries):
        super().__init__()
        self.entries = entries

    def finished(self, outcome):
        super().finished(outcome)
        if outcome.name == self.entries.name:
            shutil.rmtree(self.entries)


def test_what_is_delivered_is_told_by_the_plan_that_had_nothing_left_to_build(dock):
    """By a later one, a check whose entry cannot be read for a moment would be missing in the record."""
    dock.stages["vouches"] = Vouches(dock.log)
    dock.stages["save"] = dock.stages.pop("save")  # the last
    first = dock.run()
    again = dock.run(Forgetful(dock.home / "store" / "actions" / "vouches"))
    assert again.record == first.record


def test_an_entry_that_is_gone_while_its_result_is_needed_ends_no_run(dock, monkeypatch):
    dock.run()
    dock.change("compile", text="anew")
    real = Runner._inputs

    def inputs(runner, name):
        shutil.rmtree(dock.home / "store" / "actions" / "export", ignore_errors=True)
        return real(runner, name)

    monkeypatch.setattr(Runner, "_inputs", inputs)
    assert how(dock.run())["compile"] == "built"
