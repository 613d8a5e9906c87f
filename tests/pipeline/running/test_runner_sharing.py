"""A result may share files with its input: linked, hashed once, and checked as if they were its own."""

import os

import pytest

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from pipeline.planning import plan
from pipeline.store import files
from stages.onnx.format import ONNX
from tests.pipeline.conftest import (
    Trim,
    digests,
    flip,
    without_record,
)


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that were hashed, one by one."""
    hashed, sha256 = [], files.sha256
    monkeypatch.setattr(files, "sha256", lambda path: hashed.append(path.name) or sha256(path))
    return hashed


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
        return Artifact(ONNX, folder)


class Twice(Trim):
    """Gives a file of its own two names."""

    def make(self, inputs, folder):
        (folder / "model.onnx").write_text("graph")
        os.link(folder / "model.onnx", folder / "again.onnx")
        return Artifact(ONNX, folder)


@pytest.mark.parametrize("stage", [Reaching, Twice])
def test_a_link_to_what_is_no_file_of_an_input_is_refused(trimming, stage):
    trimming.stages["trim"] = stage(trimming.log)
    with pytest.raises(StageError, match=r"^trim: .*not a plain file") as caught:
        trimming.run()
    assert "link to those of its inputs" in caught.value.problems[0].command
    trimming.assert_sound()
