"""The runner: nothing is built twice, only success is kept, and a store is whole whatever ends a run."""

import errno
import gc
import multiprocessing
import os
import signal
import time
import weakref
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from pipeline import errors
from pipeline.artifact import Artifact, Kind
from pipeline.errors import CheckFailed, ConfigError, StageError
from pipeline.planning import plan
from pipeline.running import delivery
from pipeline.store import Lock, files
from tests.pipeline.conftest import (
    CRASHED,
    Capture,
    Check,
    Compile,
    Dock,
    Export,
    ExportCaptured,
    Load,
    Quiet,
    Save,
    Tidy,
    Trim,
    child,
    digests,
    exit_code,
    flip,
    how,
    raising,
    without_record,
)

STORED = ["record", "export", "tidy", "compile"]
ALL = ["load", *STORED, "save"]


@pytest.fixture(scope="module", autouse=True)
def _only_garbage_of_these_tests_is_collected():
    """Each run collects some, which takes a third of a second where earlier tests have left torch in memory."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def evict(dock, name):
    dock.object_of(name).rename(dock.home / f"evicted {name}")


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
        return Artifact(Kind.ONNX, folder)


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
    seen = []
    tidied = dock.object_of("tidy")
    dock.change("compile", text="harder", hook=lambda inputs: seen.append(inputs["model"].folder))
    dock.run()
    assert seen == [tidied]
    assert dock.ran() == ["compile", "save"]


class Boom(Exception):
    pass


def test_a_failure_keeps_what_was_finished_and_a_rerun_goes_on_from_there(dock):
    dock.change("compile", hook=raising(Boom("no such operator")))
    with pytest.raises(StageError):
        dock.run()
    assert dock.ran() == ["load", "record", "export", "tidy", "compile"]
    dock.assert_sound()
    assert not dock.output.exists()
    dock.change("compile", hook=lambda inputs: None)
    dock.run()
    assert dock.ran() == ["compile", "save"]


def test_what_a_vendor_raises_is_wrapped_in_one_line_with_its_cause(dock):
    cause = Boom("\n  no such operator\nand a page of C++")
    dock.change("compile", hook=raising(cause))
    with pytest.raises(StageError, match=r"^compile failed with Boom: no such operator\n") as caught:
        dock.run()
    assert caught.value.__cause__ is cause
    assert caught.value.problems[0].command


@pytest.mark.parametrize(("free", "command"), [(2**20, "free some space: 1.0 MiB are left"), (2**40, "see the log")])
def test_a_stage_that_fails_on_a_nearly_full_disk_is_told_to_free_some_space(dock, monkeypatch, free, command):
    dock.change("compile", hook=raising(Boom("write failed")))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(StageError) as caught:
        dock.run()
    assert caught.value.problems[0].command.startswith(command)


def test_an_exception_without_a_word_is_wrapped_too(dock):
    dock.change("compile", hook=raising(Boom()))
    with pytest.raises(StageError, match="compile failed with Boom: no message"):
        dock.run()


@pytest.mark.parametrize("kind", [StageError, CheckFailed, ConfigError])
def test_an_error_of_ours_keeps_its_class_and_names_the_stage(dock, kind):
    dock.change("export", hook=raising(kind("off by 3", allowed="1e-3", command="look")))
    with pytest.raises(kind) as caught:
        dock.run()
    assert type(caught.value) is kind
    assert caught.value.problems == (errors.Problem("export: off by 3", "1e-3", "look"),)


@pytest.mark.parametrize("name", ["load", "save"])
def test_a_failure_of_a_stage_that_is_not_stored_is_that_stages_failure(dock, name):
    dock.change(name, hook=raising(Boom("no")))
    with pytest.raises(StageError, match=f"^{name} failed with Boom: no"):
        dock.run()
    dock.assert_sound()
    assert not dock.output.exists()


class WrongKind(Export):
    def make(self, inputs, folder):
        (folder / "model.xml").write_text("<net/>")
        return Artifact(Kind.OPENVINO, folder)


def test_a_stage_that_makes_another_kind_than_it_promises_has_failed(dock):
    dock.stages["export"] = WrongKind(dock.log)
    with pytest.raises(StageError, match="export made openvino but promises onnx"):
        dock.run()
    dock.assert_sound()


class Linking(Export):
    def make(self, inputs, folder):
        (folder / "model.onnx").symlink_to("elsewhere")
        return Artifact(Kind.ONNX, folder)


def test_a_stage_that_leaves_a_link_has_failed(dock):
    dock.stages["export"] = Linking(dock.log)
    with pytest.raises(StageError, match=r"^export: .*not a plain file"):
        dock.run()
    dock.assert_sound()


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that were hashed, one by one."""
    seen, sha256 = [], files.sha256
    monkeypatch.setattr(files, "sha256", lambda path: seen.append(path.name) or sha256(path))
    return seen


@pytest.fixture
def trimming(dock):
    """The graph with a stage that shares a file with its input."""
    dock.stages["trim"] = Trim(dock.log)
    dock.needs |= {"trim": ["export"], "tidy": ["export"], "save": ["trim"]}
    return dock


def test_a_result_may_share_a_file_with_an_input(trimming):
    delivered = trimming.run().delivered
    one, other = (trimming.object_of(n) / "weights" / "0.bin" for n in ("export", "trim"))
    assert one.samefile(other)
    assert without_record(delivered) == "trimmed graph of net, opset 18"
    assert (delivered.parent / "weights" / "0.bin").stat().st_nlink == 1
    trimming.assert_sound()


def test_a_shared_file_is_hashed_when_it_is_new_and_when_it_is_read_again(trimming, hashed):
    trimming.run()
    assert hashed.count("0.bin") == 2  # published by export, and compared with its copy by save
    hashed.clear()
    trimming.run()
    assert hashed.count("0.bin") == 1


class Dropping(Trim):
    """Shares a file, thinks better of it, and hands its input on."""

    def make(self, inputs, folder):
        super().make(inputs, folder)
        return inputs["model"].noting(says="not better")


def test_a_file_whose_other_name_was_dropped_is_not_hashed_for_that(trimming, hashed):
    trimming.stages["trim"] = Dropping(trimming.log)
    trimming.run()
    assert hashed.count("0.bin") == 2
    hashed.clear()
    plan.make(trimming.nodes(), trimming.store, trimming.world, damaged=set(), explain=False)
    assert hashed == []


def test_a_file_that_is_harmed_while_it_is_shared_is_found_out_and_both_are_rebuilt(trimming):
    harm = iter([lambda inputs: flip(inputs["model"].folder / "weights" / "0.bin")])
    trimming.change("trim", hook=lambda inputs: next(harm, lambda inputs: None)(inputs))
    delivered = trimming.run().delivered
    assert (delivered.parent / "weights" / "0.bin").read_bytes() == bytes(range(64))
    assert trimming.ran().count("trim") == 2
    trimming.assert_sound()


def test_damage_to_a_shared_file_is_damage_to_both_and_both_are_rebuilt(trimming):
    first = trimming.run()
    flip(trimming.object_of("export") / "weights" / "0.bin")
    trimming.ran()
    assert digests(trimming.run()) == digests(first)
    assert trimming.ran() == ["load", "export", "trim", "save"]
    assert len([*trimming.store.root.glob("quarantine/*")]) == 2
    trimming.assert_sound()


class Reaching(Trim):
    """Links to a file of the store that belongs to none of its inputs."""

    def make(self, inputs, folder):
        (other,) = folder.parents[1].glob("objects/*/*/reference.safetensors")
        os.link(other, folder / "weights.bin")
        (folder / "model.onnx").write_text("graph")
        return Artifact(Kind.ONNX, folder)


class Twice(Trim):
    """Gives a file of its own two names."""

    def make(self, inputs, folder):
        (folder / "model.onnx").write_text("graph")
        os.link(folder / "model.onnx", folder / "again.onnx")
        return Artifact(Kind.ONNX, folder)


@pytest.mark.parametrize("stage", [Reaching, Twice])
def test_a_link_to_what_is_no_file_of_an_input_is_refused(trimming, stage):
    trimming.stages["trim"] = stage(trimming.log)
    with pytest.raises(StageError, match=r"^trim: .*not a plain file") as caught:
        trimming.run()
    assert "link to those of its inputs" in caught.value.problems[0].command
    trimming.assert_sound()


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


class Grabbing(Compile):
    produces = Kind.ONNX

    def make(self, inputs, folder):
        return Artifact(Kind.ONNX, inputs["model"].folder, facts={"mine": True})


def test_a_stage_cannot_pass_off_the_folder_of_its_input_as_its_own(dock):
    dock.stages["compile"] = Grabbing(dock.log)
    with pytest.raises(StageError, match="compile"):
        dock.run()
    dock.assert_sound()


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_an_interruption_leaves_no_build_folder_and_holds_no_lock(dock, end):
    dock.change("tidy", hook=raising(end()))
    with pytest.raises(end):
        dock.run()
    dock.assert_sound()
    dock.change("tidy", hook=lambda inputs: None)
    dock.run()
    assert dock.ran() == ["load", "record", "export", "tidy", "tidy", "compile", "save"]


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


class Random(Export):
    def make(self, inputs, folder):
        (folder / "model.onnx").write_text(os.urandom(16).hex())
        return Artifact(Kind.ONNX, folder)


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
    consumes: ClassVar = {"module": frozenset({Kind.MODULE}), "model": frozenset({Kind.ONNX})}


def test_an_object_that_another_run_evicts_after_the_plan_looked_is_rebuilt(dock):
    dock.run()
    dock.stages["remember"] = Remember(dock.log, hook=lambda inputs: evict(dock, "export"))
    dock.stages["compare"] = Compare(dock.log)
    dock.needs["compare"] = ["remember", "export"]
    assert how(dock.run())["compare"] == "built"
    dock.assert_sound()


@pytest.fixture
def capturing(dock):
    """The graph with a stage that leaves no files between the module and its export."""
    dock.stages = {
        "load": dock.stages.pop("load"),
        "capture": Capture(dock.log),
        **dock.stages,
        "export": ExportCaptured(dock.log, "opset 18"),
    }
    return dock


def test_a_result_without_files_is_used_and_not_stored(capturing):
    result = capturing.run()
    assert capturing.ran() == ["load", "capture", "record", "exportcaptured", "tidy", "compile", "save"]
    told = next(o for o in result.outcomes if o.name == "capture")
    assert (told.how, told.digest, told.size, told.facts["captured"]) == ("built", None, 0, "")
    assert {o.name: o.facts for o in result.outcomes}["save"]["captured"] == ""
    assert [*capturing.store.root.glob("objects/*/*/model.pt2")] == []
    capturing.assert_sound()


def test_a_result_without_files_is_a_hit_as_long_as_nothing_after_it_must_run(capturing):
    first = capturing.run()
    capturing.change("tidy", text="net")
    capturing.ran()
    second = capturing.run(listener := Quiet())
    assert capturing.ran() == ["tidy", "compile", "save"]
    assert how(second)["capture"] == "hit"
    assert {s.name: s.why for s in listener.steps}["capture"] == ""
    assert [{o.name: o.notes for o in r.outcomes}["capture"] for r in (first, second)] == [{"says": "in memory"}] * 2


def test_a_result_without_files_is_made_again_when_something_after_it_must_run(capturing):
    capturing.run()
    capturing.change("export", text="opset 20")
    capturing.ran()
    assert how(capturing.run())["capture"] == "built"
    assert capturing.ran() == ["load", "capture", "exportcaptured", "tidy", "compile", "save"]


def test_a_result_without_files_is_released_after_its_last_use(capturing):
    seen = {}
    capturing.change("export", hook=lambda inputs: seen.update(program=weakref.ref(inputs["module"].live)))
    capturing.change("tidy", hook=lambda inputs: seen.update(alive=seen["program"]() is not None))
    gc.disable()
    try:
        capturing.run()
    finally:
        gc.enable()
    assert seen["alive"] is False


class Nothing(Capture):
    def make(self, inputs, folder):
        return Artifact(Kind.EXPORTED)


class Moody(Capture):
    """Leaves no files the first time, and files ever after."""

    def make(self, inputs, folder):
        made = super().make(inputs, folder)
        if not self.log.with_name("mood").exists():
            self.log.with_name("mood").touch()
            return made
        (folder / "model.pt2").touch()
        return replace(made, folder=folder)


def test_a_stage_that_leaves_neither_files_nor_an_object_has_failed(capturing):
    capturing.stages["capture"] = Nothing(capturing.log)
    with pytest.raises(StageError, match="capture left no files, and no object in memory either"):
        capturing.run()


def test_a_stage_that_leaves_files_where_it_left_none_before_has_failed(capturing):
    capturing.stages["capture"] = Moody(capturing.log)
    capturing.run()
    capturing.change("export", text="opset 20")
    with pytest.raises(StageError, match="capture left files, but its result is one that is kept in memory"):
        capturing.run()
    capturing.assert_sound()


class Hand(Save):
    consumes: ClassVar = {"artifact": frozenset({Kind.EXPORTED})}


def test_a_result_without_files_cannot_be_delivered(capturing):
    capturing.stages["save"] = Hand(capturing.log)
    with pytest.raises(StageError, match="save has no files to deliver: capture kept its result in memory"):
        capturing.run()


class Passing(Check):
    consumes: ClassVar = {"artifact": frozenset({Kind.EXPORTED})}


def test_a_result_without_files_can_be_passed_through(capturing):
    capturing.stages["look"] = Passing(capturing.log)
    capturing.needs |= {"look": ["capture"], "export": ["look"]}
    for _ in range(2):
        assert how(capturing.run())["look"] in ("built", "hit")
    assert capturing.ran().count("passing") == 1
    capturing.assert_sound()


def test_an_object_in_memory_is_released_after_its_last_use(dock):
    seen = {}
    dock.change("export", hook=lambda inputs: seen.update(module=weakref.ref(inputs["module"].live)))
    dock.change("tidy", hook=lambda inputs: seen.update(alive=seen["module"]() is not None))
    gc.disable()
    try:
        dock.run()
    finally:
        gc.enable()
    assert seen["alive"] is False


def test_an_object_in_memory_is_shared_by_all_who_need_it(dock):
    seen = []
    for name in ("record", "export"):
        dock.change(name, hook=lambda inputs: seen.append(inputs["module"].live))
    dock.run()
    assert seen[0] is seen[1]


def test_a_run_takes_what_the_last_one_in_its_process_kept_and_drops_what_it_cannot_use(dock):
    kept = {}
    for opset, model, ran in [
        (18, "net", ["load", "export"]),
        (19, "net", ["export"]),
        (19, "other", ["load", "export"]),
    ]:
        dock.change("export", text=f"opset {opset}")
        dock.change("load", text=model)
        dock.ran()
        result = dock.run(kept=kept)
        assert [name for name in dock.ran() if name in ("load", "export")] == ran
        assert how(result)["load"] == ("built" if "load" in ran else "hit")
        assert [a.live.text for a in kept.values()] == [model]


class Stored(Capture):
    """Writes its program, and keeps it in memory too."""

    def make(self, inputs, folder):
        (folder / "model.pt2").write_text("a program")
        return replace(super().make(inputs, folder), folder=folder)


def test_the_object_of_a_stored_result_is_kept_for_the_next_run_of_this_process(capturing):
    kept, seen = {}, []
    for text in ("opset 18", "opset 20"):
        capturing.stages["capture"] = Stored(capturing.log)
        capturing.change("export", text=text, hook=lambda inputs: seen.append(inputs["module"]))
        capturing.run(kept=kept)
    assert capturing.ran().count("stored") == 1
    assert seen[0].live is seen[1].live is not None
    assert seen[1].file.read_text() == "a program"


def test_what_the_next_run_has_no_use_for_is_freed_before_it_loads_anything(dock):
    kept, seen = {}, {}
    dock.run(kept=kept)
    last = weakref.ref(next(iter(kept.values())).live)
    dock.change("load", text="other", hook=lambda inputs: seen.update(alive=last() is not None))
    gc.disable()
    try:
        dock.run(kept=kept)
    finally:
        gc.enable()
    assert seen["alive"] is False


def test_an_object_is_not_kept_beyond_the_files_that_it_was_stored_as(capturing):
    kept, seen = {}, []
    capturing.stages["capture"] = Stored(capturing.log)
    capturing.run(kept=kept)
    flip(capturing.object_of("capture") / "model.pt2")
    capturing.change("export", text="opset 20", hook=lambda inputs: seen.append(inputs["module"].live))
    capturing.run(kept=kept)
    assert capturing.ran().count("stored") == 2
    assert seen[0] in [a.live for a in kept.values()]


def test_a_failed_run_holds_no_object_in_memory_while_its_error_is_told(dock):
    seen = []
    dock.stages["record"] = dock.stages.pop("record")  # the last to need the module
    dock.change("export", hook=lambda inputs: seen.append(weakref.ref(inputs["module"].live)))
    dock.change("tidy", hook=raising(Boom()))
    with pytest.raises(StageError) as caught:
        dock.run()
    gc.collect()
    assert caught.value.__traceback__
    assert seen[0]() is None


def test_a_graph_that_delivers_nothing_ends_with_its_results_in_the_store(dock):
    del dock.stages["save"]
    assert dock.run().delivered is None
    assert not dock.output.exists()


class SaveOnnx(Save):
    consumes: ClassVar = {"artifact": frozenset({Kind.ONNX})}


def test_two_deliveries_each_get_a_folder_and_can_be_repeated(dock):
    dock.stages["save_onnx"] = SaveOnnx(dock.log)
    for _ in range(2):
        delivery.refuse(dock.output, dock.store.root)
        delivery.check(dock.output)
        dock.run()
    assert (dock.output / "save" / "model.xml").is_file()
    assert (dock.output / "save_onnx" / "model.onnx").is_file()


class Settling(Load):
    def settle(self, world):
        raise ConfigError("weights.pt is not there")


def test_what_is_not_there_is_told_before_anything_runs(dock):
    dock.stages["load"] = Settling(dock.log)
    with pytest.raises(ConfigError, match=r"stages.load: weights.pt is not there"):
        dock.run()
    assert dock.ran() == []


# What publishing is made of: each call is a step before which a machine may stop, or the disk turn out to be full.
NEED_SPACE = [(os, "fsync"), (os, "link"), (Path, "rename"), (Path, "replace"), (Path, "mkdir")]
STEPS = [*NEED_SPACE, (Path, "chmod"), (Path, "unlink")]


def interpose(steps, step, act, patch=setattr):
    """Counts the calls that change what is on the disk, and acts before the nth and all that follow."""
    done = iter(range(1, step))

    def instead_of(call):
        def wrapper(*args, **kwargs):
            if next(done, None) is None:
                act()
            return call(*args, **kwargs)

        return wrapper

    for owner, name in steps:
        patch(owner, name, instead_of(getattr(owner, name)))


def small(home):
    """A short graph that keeps a result in memory, publishes one, shares a file of it in the next, and delivers."""
    home.mkdir()
    dock = Dock(home)
    dock.stages = {
        "load": dock.stages["load"],
        "capture": Capture(dock.log),
        "export": ExportCaptured(dock.log, "opset 18"),
        "trim": Trim(dock.log),
        "save": dock.stages["save"],
    }
    return dock


def outcome(dock):
    """What a run came to: digests or the error, which whoever waits for an answer would otherwise wait for."""
    try:
        return digests(dock.run())
    except Exception as e:
        return e


def crash(dock, step):
    interpose(STEPS, step, lambda: os._exit(CRASHED))
    dock.run()


def test_a_crash_at_any_step_leaves_a_store_from_which_a_rerun_works(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    whole = digests(small(tmp_path / "whole").run())
    for step in range(1, 200):
        dock = small(tmp_path / f"{step}")
        code = exit_code(lambda: crash(dock, step))  # noqa: B023
        again = dock.run()
        assert digests(again) == whole, f"after a crash before step {step}"
        assert without_record(dock.output / "model.onnx") == "trimmed graph of net, opset 18"
        dock.assert_sound()
        if code != CRASHED:
            break
    assert code == 0
    assert step > 20


def test_a_full_disk_at_any_step_is_told_and_leaves_a_store_from_which_a_rerun_works(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    full = raising(OSError(errno.ENOSPC, "no space left"))
    for step in range(1, 200):
        dock = small(tmp_path / f"{step}")
        with monkeypatch.context() as patch:
            interpose(NEED_SPACE, step, full, patch.setattr)
            told = outcome(dock)
        dock.run()
        dock.assert_sound()
        if isinstance(told, dict):
            break
        assert isinstance(told, StageError), f"at step {step}: {told!r}"
        assert told.problems[0].command
    assert step > 20


def killed_while_building(dock, name, number):
    ready, told = os.pipe()

    def stop(inputs):
        os.write(told, b"x")
        signal.pause()

    dock.change(name, hook=stop)
    process = child(dock.run)
    process.start()
    os.read(ready, 1)
    os.kill(process.pid, number)
    process.join()
    dock.change(name, hook=lambda inputs: None)


@pytest.mark.parametrize("name", ALL)
def test_a_killed_run_is_taken_up_where_it_was(dock, name):
    killed_while_building(dock, name, signal.SIGKILL)
    before = dock.ran()
    dock.run()
    assert before[-1] == name
    finished = [n for n in before[:-1] if n in STORED]
    assert [n for n in dock.ran() if n in STORED] == STORED[len(finished) :]
    dock.assert_sound()


class Watch(Load):
    """The last to be asked in each plan: when it has been asked, all the others have been looked up."""

    def identity(self, world):
        with self.log.with_name("asked").open("a") as f:
            f.write(f"{os.getpid()}\n")
        return {}


def race(dock, processes):
    """Runs the graph in so many processes, none of which finishes a stage before all have planned it."""
    asked = dock.home / "asked"
    dock.stages["watch"] = Watch(dock.log)

    def wait_for_all(inputs):
        # Each run plans once to tell it and once to act on it.
        while sum(times >= 2 for times in Counter(asked.read_text().split()).values()) < processes:
            time.sleep(0.01)

    dock.change("record", hook=wait_for_all)
    told = multiprocessing.get_context("fork").SimpleQueue()
    racers = []
    for i in range(processes):
        racer = Dock(dock.home)
        racer.stages, racer.output = dock.stages, dock.home / f"out{i}"
        racers.append(child(lambda r=racer: told.put(outcome(r))))
    for process in racers:
        process.start()
    found = [told.get() for _ in racers]
    for process in racers:
        process.join()
    return found


@pytest.mark.parametrize("processes", [2, 8])
def test_runs_that_race_on_an_empty_store_build_each_stage_once_and_agree(dock, processes):
    found = race(dock, processes)
    assert found == [found[0]] * processes
    assert sorted(dock.ran()) == sorted([*ALL, *["save"] * (processes - 1)])
    assert len({(dock.home / f"out{i}" / "model.xml").read_text() for i in range(processes)}) == 1
    dock.assert_sound()


def test_runs_that_race_on_random_content_agree_on_the_first_writers(dock):
    dock.stages["export"] = Random(dock.log)
    found = race(dock, 3)
    assert found == [found[0]] * 3
    assert dock.ran().count("random") == 1


def test_a_run_without_locks_builds_twice_but_agrees(dock, monkeypatch):
    """A lock saves work and nothing else: where it does not exclude, the first writer still wins."""
    monkeypatch.setattr("pipeline.store.locks.Lock.try_acquire", lambda lock: True)
    monkeypatch.setattr("pipeline.store.Store.sweep", lambda store: None)
    dock.stages["export"] = Random(dock.log)
    barrier = multiprocessing.get_context("fork").Barrier(2)
    dock.change("export", hook=lambda inputs: barrier.wait())
    found = race(dock, 2)
    assert dock.ran().count("random") == 2
    assert found == [found[0]] * 2
    dock.assert_sound()


def test_who_loses_a_race_goes_on_with_what_the_winner_recorded(dock):
    winner = Dock(dock.home)
    winner.stages = {"load": dock.stages["load"], "export": Random(dock.log)}

    def overtake(inputs):
        for lock in (dock.home / "store" / "locks").glob("[0-9a-f]*.lock"):
            lock.unlink()  # as on a file system where a lock does not exclude
        winner.run()

    dock.stages = winner.stages | {"export": Random(dock.log, hook=overtake), "compile": Compile(dock.log)}
    dock.run()
    won = (winner.object_of("export") / "model.onnx").read_text()
    assert (dock.object_of("compile") / "model.xml").read_text() == f"<net>{won}</net>"


def test_the_next_lock_is_taken_before_the_last_one_is_let_go(dock, monkeypatch):
    """So a run that waits stays behind the one that builds, which holds in memory what both would need."""
    events, take, let_go = [], Lock.try_acquire, Lock.release
    monkeypatch.setattr(Lock, "try_acquire", lambda lock: events.append(f"take {lock._what}") or take(lock))
    monkeypatch.setattr(Lock, "release", lambda lock: events.append(f"let go {lock._what}") or let_go(lock))
    dock.run()
    assert [e for e in events if "build" not in e] == [
        "take record",
        "take export",
        "let go record",
        "take tidy",
        "let go export",
        "take compile",
        "let go tidy",
        "let go compile",
    ]


def origins(dock, name):
    """Of each port of a stage: the stage that its artifact comes from, and what that was made of."""
    told = {}

    def look(inputs):  # while the run goes on: afterwards nothing is held in memory
        for port, given in inputs.items():
            told[port] = given.origin.stage, given.origin.source and given.origin.source()

    dock.change(name, text="to be built", hook=look)
    dock.run()
    return told


def test_an_artifact_comes_with_the_stage_that_made_it_and_what_that_was_made_of(dock):
    stage, source = origins(dock, "tidy")["model"]
    assert (stage, source.live.text) == ("export", "net")


def test_an_artifact_of_a_stage_without_ports_was_made_of_nothing(dock):
    assert origins(dock, "export")["module"] == ("load", None)


def test_each_port_has_an_origin_of_its_own(dock):
    dock.stages["check"] = Check(dock.log)
    dock.needs["check"] = ["tidy", "record"]
    assert {port: stage for port, (stage, _) in origins(dock, "check").items()} == {
        "artifact": "tidy",
        "reference": "record",
    }


@pytest.mark.parametrize("stored", [False, True], ids=["in one run", "from the store"])
def test_what_passed_through_checks_comes_from_the_stage_before_them(dock, stored):
    dock.stages |= {"check": Check(dock.log), "another": Check(dock.log)}
    dock.needs |= {"check": ["tidy", "record"], "another": ["check", "record"], "compile": ["another"]}
    if stored:
        dock.run()
    stage, source = origins(dock, "compile")["model"]
    assert stage == "tidy"
    assert source.folder == dock.object_of("export")
    assert source.file.read_text() == "graph of net, opset 18"


def test_what_an_artifact_was_made_of_is_made_again_for_whoever_opens_it_and_for_nobody_else(dock):
    dock.run()
    dock.ran()
    dock.change("tidy", text="18")
    dock.run()
    assert dock.ran() == ["tidy", "compile", "save"]
    assert origins(dock, "tidy")["model"][1].live.text == "net"
    assert dock.ran()[:2] == ["tidy", "load"]


def test_an_origin_is_no_part_of_a_result(dock):
    dock.stages["check"] = Check(dock.log)
    dock.needs |= {"check": ["tidy", "record"], "compile": ["check"]}
    first = digests(dock.run())
    dock.ran()
    dock.stages["more"] = Check(dock.log, "another")
    dock.needs |= {"more": ["check", "record"], "compile": ["more"]}
    assert digests(dock.run())["compile"] == first["compile"]
    assert dock.ran() == ["check", "save"]  # that is the one more
