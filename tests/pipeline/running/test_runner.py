"""The runner: nothing is built twice, only success is kept, and the store is whole after any end of a run."""

from dataclasses import replace
from typing import ClassVar

import pytest

from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed
from pipeline.running import delivery
from stages.onnx.format import ONNX
from tests.pipeline.conftest import (
    ALL,
    STORED,
    Check,
    Compile,
    Export,
    Quiet,
    Save,
    Tidy,
    digests,
    how,
    raising,
    without_record,
)


def test_a_run_builds_each_stage_once_and_delivers(dock):
    result = dock.run()
    assert dock.ran() == ["load", "record", "export", "tidy", "compile", "save"]
    assert how(result) == dict.fromkeys(ALL, "built") | {"save": "delivered"}
    assert result.delivered == dock.output / "model.xml"
    assert without_record(result.delivered) == "<net>graph of net,  18</net>"
    dock.assert_sound()


def test_a_second_run_builds_nothing_and_delivers_the_same(dock):
    first = dock.run()
    dock.ran()
    second = dock.run()
    assert dock.ran() == ["save"]
    assert how(second) == {"load": "hit", "save": "delivered"} | dict.fromkeys(STORED, "hit")
    assert digests(second) | {"load": None} == digests(first) | {"load": None}


def test_each_outcome_is_told_once_with_key_size_and_digest(dock):
    listener = Quiet()
    result = dock.run(listener)
    assert sorted(o.name for o in listener.outcomes) == sorted(ALL)
    compiled = next(o for o in result.outcomes if o.name == "compile")
    assert compiled.digest == dock.object_of("compile").name
    assert compiled.size == sum(p.stat().st_size for p in dock.object_of("compile").iterdir())
    assert len(compiled.key) == 64


def test_facts_travel_from_the_first_input_to_the_delivery(dock):
    result = dock.run()
    assert {o.name: o.facts for o in result.outcomes}["save"] == {"source": {"bytes": 100}}
    assert dock.store.glance(dock.object_of("compile").name).facts == {"source": {"bytes": 100}}


class Forgetting(Compile):
    def make(self, inputs, folder):
        return replace(super().make(inputs, folder), facts={"source": None, "mine": True})


def test_a_fact_that_holds_no_longer_travels_no_further(dock):
    dock.stages["compile"] = Forgetting(dock.log)
    assert {o.name: o.facts for o in dock.run().outcomes}["save"] == {"mine": True}


def test_notes_of_a_stage_are_told_again_when_it_is_a_hit(dock):
    dock.stages["check"] = Check(dock.log)
    for _ in range(2):
        assert {o.name: o.notes for o in dock.run().outcomes}["check"] == {"says": "agrees"}


class Doctor(Check):
    """Says that it passes its input through, and changes it after all."""

    def make(self, inputs, folder):
        (folder / "model.onnx").write_text("cured")
        return Artifact(ONNX, folder)


def test_what_stands_on_a_stage_that_changes_what_it_passes_through_gets_the_change(dock):
    dock.run()
    dock.stages["doctor"] = Doctor(dock.log)
    dock.needs |= {"doctor": ["tidy", "record"], "compile": ["doctor"]}
    for _ in range(2):
        assert without_record(dock.run().delivered) == "<net>cured</net>"
    assert dock.ran().count("doctor") == 1
    dock.assert_sound()


def test_a_check_that_fails_ends_the_run_even_when_all_after_it_is_in_the_store(dock):
    dock.stages["check"] = Check(dock.log)
    dock.needs |= {"check": ["tidy", "record"], "compile": ["check"]}
    dock.run()
    delivered = dock.output.stat().st_ino
    dock.change("check", text="stricter", hook=raising(CheckFailed("off by 3")))
    with pytest.raises(CheckFailed):
        dock.run()
    assert dock.output.stat().st_ino == delivered


def test_a_changed_setting_rebuilds_what_comes_after_it_and_nothing_else(dock):
    dock.run()
    dock.ran()
    dock.change("tidy", text="net")
    dock.run()
    assert dock.ran() == ["tidy", "compile", "save"]


def test_a_stage_in_memory_is_made_again_only_when_something_after_it_must_run(dock):
    dock.run()
    dock.ran()
    dock.change("record", text="another seed")
    dock.run()
    assert dock.ran() == ["load", "record", "save"]


def test_what_comes_after_a_stage_that_changed_nothing_is_a_hit(dock):
    dock.change("tidy", text="not in the graph")
    dock.run()
    dock.ran()
    dock.change("tidy", text="not there either")
    result = dock.run()
    assert dock.ran() == ["tidy", "save"]
    assert digests(result)["tidy"] == digests(result)["export"]


class Reworded(Export):
    """Another stage that happens to make what Export makes."""


def test_what_comes_after_equal_content_made_in_another_way_is_a_hit(dock):
    dock.run()
    dock.ran()
    dock.stages["export"] = Reworded(dock.log, "opset 18")
    dock.run()
    assert dock.ran() == ["load", "reworded", "save"]


def test_a_stage_reads_its_stored_input_when_an_earlier_run_made_it(dock):
    dock.run()
    dock.ran()
    artifacts = []
    tidied = dock.object_of("tidy")
    dock.change("compile", text="harder", hook=lambda inputs: artifacts.append(inputs["model"].folder))
    dock.run()
    assert artifacts == [tidied]
    assert dock.ran() == ["compile", "save"]


class Deriving(Tidy):
    """Says what it made by changing what it was given, which still bears the digest of what it was given."""

    def make(self, inputs, folder):
        (folder / "model.onnx").write_text("derived")
        return replace(inputs["model"], folder=folder)


def test_new_content_is_stored_even_when_it_bears_the_digest_of_the_old(dock):
    dock.stages["tidy"] = Deriving(dock.log)
    for _ in range(2):
        assert without_record(dock.run().delivered) == "<net>derived</net>"
    dock.assert_sound()


def test_a_graph_that_delivers_nothing_ends_with_its_results_in_the_store(dock):
    del dock.stages["save"]
    assert dock.run().delivered is None
    assert not dock.output.exists()


class SaveOnnx(Save):
    consumes: ClassVar = {"artifact": frozenset({ONNX})}


def test_two_deliveries_each_get_a_folder_and_can_be_repeated(dock):
    dock.stages["save_onnx"] = SaveOnnx(dock.log)
    for _ in range(2):
        delivery.refuse(dock.output, dock.store.root)
        delivery.check(dock.output)
        dock.run()
    assert (dock.output / "save" / "model.xml").is_file()
    assert (dock.output / "save_onnx" / "model.onnx").is_file()
