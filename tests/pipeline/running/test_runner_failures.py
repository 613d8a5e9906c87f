"""Failures: the run ends, says what failed and what to do, and keeps finished stages."""

from types import SimpleNamespace

import pytest

from pipeline import errors
from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed, ConfigError, StageError
from stages.onnx.format import ONNX
from stages.openvino.format import OPENVINO
from tests.pipeline.conftest import (
    Boom,
    Compile,
    Export,
    Load,
    raising,
)


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
        return Artifact(OPENVINO, folder)


def test_a_stage_that_makes_another_kind_than_it_promises_has_failed(dock):
    dock.stages["export"] = WrongKind(dock.log)
    with pytest.raises(StageError, match="export made openvino but promises onnx"):
        dock.run()
    dock.assert_sound()


class Linking(Export):
    def make(self, inputs, folder):
        (folder / "model.onnx").symlink_to("elsewhere")
        return Artifact(ONNX, folder)


def test_a_stage_that_leaves_a_link_has_failed(dock):
    dock.stages["export"] = Linking(dock.log)
    with pytest.raises(StageError, match=r"^export: .*not a plain file"):
        dock.run()
    dock.assert_sound()


class Grabbing(Compile):
    produces = ONNX

    def make(self, inputs, folder):
        return Artifact(ONNX, inputs["model"].folder, facts={"mine": True})


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


class Settling(Load):
    def settle(self, world):
        raise ConfigError("weights.pt is not there")


def test_what_is_not_there_is_told_before_anything_runs(dock):
    dock.stages["load"] = Settling(dock.log)
    with pytest.raises(ConfigError, match=r"stages.load: weights.pt is not there"):
        dock.run()
    assert dock.ran() == []
