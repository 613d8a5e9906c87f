"""Results that are kept in memory: made again only when they are needed, shared, and released after their last use."""

import gc
import weakref
from dataclasses import replace
from typing import ClassVar

import pytest

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from stages.capture.format import EXPORTED
from tests.pipeline.conftest import (
    Boom,
    Capture,
    Check,
    ExportCaptured,
    Quiet,
    Save,
    flip,
    how,
    raising,
)


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
    outcome = next(o for o in result.outcomes if o.name == "capture")
    assert (outcome.how, outcome.digest, outcome.size, outcome.facts["captured"]) == ("built", None, 0, "")
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
    objects = {}
    capturing.change("export", hook=lambda inputs: objects.update(program=weakref.ref(inputs["module"].live)))
    capturing.change("tidy", hook=lambda inputs: objects.update(alive=objects["program"]() is not None))
    gc.disable()
    try:
        capturing.run()
    finally:
        gc.enable()
    assert objects["alive"] is False


class Nothing(Capture):
    def make(self, inputs, folder):
        return Artifact(EXPORTED)


class Moody(Capture):
    """Leaves no files the first time, and files ever after."""

    def make(self, inputs, folder):
        result = super().make(inputs, folder)
        if not self.log.with_name("mood").exists():
            self.log.with_name("mood").touch()
            return result
        (folder / "model.pt2").touch()
        return replace(result, folder=folder)


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
    consumes: ClassVar = {"artifact": frozenset({EXPORTED})}


def test_a_result_without_files_cannot_be_delivered(capturing):
    capturing.stages["save"] = Hand(capturing.log)
    with pytest.raises(StageError, match="save has no files to deliver: capture kept its result in memory"):
        capturing.run()


class Passing(Check):
    consumes: ClassVar = {"artifact": frozenset({EXPORTED})}


def test_a_result_without_files_can_be_passed_through(capturing):
    capturing.stages["look"] = Passing(capturing.log)
    capturing.needs |= {"look": ["capture"], "export": ["look"]}
    for _ in range(2):
        assert how(capturing.run())["look"] in ("built", "hit")
    assert capturing.ran().count("passing") == 1
    capturing.assert_sound()


def test_an_object_in_memory_is_released_after_its_last_use(dock):
    objects = {}
    dock.change("export", hook=lambda inputs: objects.update(module=weakref.ref(inputs["module"].live)))
    dock.change("tidy", hook=lambda inputs: objects.update(alive=objects["module"]() is not None))
    gc.disable()
    try:
        dock.run()
    finally:
        gc.enable()
    assert objects["alive"] is False


def test_an_object_in_memory_is_shared_by_all_who_need_it(dock):
    objects = []
    for name in ("record", "export"):
        dock.change(name, hook=lambda inputs: objects.append(inputs["module"].live))
    dock.run()
    assert objects[0] is objects[1]


def test_a_run_takes_what_the_last_one_in_its_process_kept_and_drops_what_it_cannot_use(dock):
    cache = {}
    for opset, model, ran in [
        (18, "net", ["load", "export"]),
        (19, "net", ["export"]),
        (19, "other", ["load", "export"]),
    ]:
        dock.change("export", text=f"opset {opset}")
        dock.change("load", text=model)
        dock.ran()
        result = dock.run(cache=cache)
        assert [name for name in dock.ran() if name in ("load", "export")] == ran
        assert how(result)["load"] == ("built" if "load" in ran else "hit")
        assert [a.live.text for a in cache.values()] == [model]


class Stored(Capture):
    """Writes its program, and keeps it in memory too."""

    def make(self, inputs, folder):
        (folder / "model.pt2").write_text("a program")
        return replace(super().make(inputs, folder), folder=folder)


def test_the_object_of_a_stored_result_is_kept_for_the_next_run_of_this_process(capturing):
    cache, objects = {}, []
    for text in ("opset 18", "opset 20"):
        capturing.stages["capture"] = Stored(capturing.log)
        capturing.change("export", text=text, hook=lambda inputs: objects.append(inputs["module"]))
        capturing.run(cache=cache)
    assert capturing.ran().count("stored") == 1
    assert objects[0].live is objects[1].live is not None
    assert objects[1].file.read_text() == "a program"


def test_what_the_next_run_has_no_use_for_is_freed_before_it_loads_anything(dock):
    cache, objects = {}, {}
    dock.run(cache=cache)
    last = weakref.ref(next(iter(cache.values())).live)
    dock.change("load", text="other", hook=lambda inputs: objects.update(alive=last() is not None))
    gc.disable()
    try:
        dock.run(cache=cache)
    finally:
        gc.enable()
    assert objects["alive"] is False


def test_an_object_is_not_kept_beyond_the_files_that_it_was_stored_as(capturing):
    cache, objects = {}, []
    capturing.stages["capture"] = Stored(capturing.log)
    capturing.run(cache=cache)
    flip(capturing.object_of("capture") / "model.pt2")
    capturing.change("export", text="opset 20", hook=lambda inputs: objects.append(inputs["module"].live))
    capturing.run(cache=cache)
    assert capturing.ran().count("stored") == 2
    assert objects[0] in [a.live for a in cache.values()]


def test_a_failed_run_holds_no_object_in_memory_while_its_error_is_told(dock):
    objects = []
    dock.stages["record"] = dock.stages.pop("record")  # the last to need the module
    dock.change("export", hook=lambda inputs: objects.append(weakref.ref(inputs["module"].live)))
    dock.change("tidy", hook=raising(Boom()))
    with pytest.raises(StageError) as caught:
        dock.run()
    gc.collect()
    assert caught.value.__traceback__
    assert objects[0]() is None
