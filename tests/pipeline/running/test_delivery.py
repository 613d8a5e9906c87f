"""The copy that the user is handed: complete, independent of the store, or not there at all."""

import errno
import hashlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from pipeline import errors
from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, DrydockError, StageError
from pipeline.running import delivery
from pipeline.running.beside import swap
from pipeline.store import Damaged, State
from stages.onnx.format import ONNX
from tests.pipeline.conftest import Save, child, flip, raising, without_record


@pytest.fixture
def artifact(store):
    with store.staging() as folder:
        (folder / "data").mkdir()
        (folder / "model.onnx").write_text("graph")
        (folder / "data" / "w.bin").write_bytes(b"weights")
        return store.publish(Artifact(ONNX, folder, facts={"opset": 18}))


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out"


def deliver(artifact, store, output, stage=Save, hook=lambda inputs: None, record=MappingProxyType({})):
    return delivery.deliver(stage(output.parent / "log", hook=hook), {"artifact": artifact}, store, output, record)


def content_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def beside(output):
    """The files beside the output folder with one of our hidden names."""
    return list(output.parent.glob(f".{output.name}.*"))


def test_a_delivery_is_a_copy_with_what_it_is_written_beside_it(artifact, store, output):
    path, _ = deliver(artifact, store, output)
    assert path == output / "model.onnx"
    content = content_of(output)
    document = json.loads(content.pop("artifact.json"))
    assert content == {"model.onnx": b"graph", "data/w.bin": b"weights"}
    assert document == {"files": ["data", "model.onnx"]}
    assert beside(output) == []


def test_the_record_goes_into_the_model_file_and_beside_it(artifact, store, output):
    path, _ = deliver(artifact, store, output, record={"schema": 1})
    assert path.read_bytes() != b"graph"
    assert without_record(path) == "graph"
    assert json.loads((output / "artifact.json").read_text()) == {"schema": 1, "files": ["data", "model.onnx"]}


def test_editing_the_copy_leaves_the_store_whole(artifact, store, output):
    deliver(artifact, store, output)
    for path in [p for p in output.rglob("*") if p.is_file()]:
        path.write_bytes(b"mine now")
    assert store.objects.state(artifact.digest, thorough=True) is State.PRESENT


def test_the_copy_can_be_edited_and_removed_by_its_owner(artifact, store, output):
    deliver(artifact, store, output)
    assert all(p.stat().st_mode & 0o200 for p in output.rglob("*"))


def test_a_new_delivery_replaces_the_old_one_whole(artifact, store, output):
    output.mkdir()
    (output / "model.xml").write_text("from last time")
    (output / "artifact.json").write_text('{"files": ["model.xml"]}')
    deliver(artifact, store, output)
    assert set(content_of(output)) == {"model.onnx", "data/w.bin", "artifact.json"}
    assert beside(output) == []


class Bundling(Save):
    def make(self, inputs, folder):
        (folder / "net.onnx").write_bytes(inputs["artifact"].file.read_bytes())
        (folder / "w.bin").write_bytes(b"weights")
        (folder / "answers").write_text("42")
        copies = {"net.onnx": "model.onnx", "w.bin": "data/w.bin"}
        return Artifact(Kind.DELIVERY, folder, notes={"file": "net.onnx", "copies": copies, "bundle": True})


def test_a_bundle_has_more_than_the_copies_and_the_sum_of_each_file(artifact, store, output):
    deliver(artifact, store, output, Bundling)
    document = json.loads((output / "artifact.json").read_text())
    assert document["files"] == ["answers", "net.onnx", "w.bin"]
    assert document["sha256"] == {n: hashlib.sha256((output / n).read_bytes()).hexdigest() for n in document["files"]}


class Lossy(Save):
    def make(self, inputs, folder):
        delivered = super().make(inputs, folder)
        (folder / "data" / "w.bin").write_bytes(b"weight")
        return delivered


class Forgetful(Save):
    def make(self, inputs, folder):
        delivered = super().make(inputs, folder)
        (folder / "data" / "w.bin").unlink()
        return delivered


class Linking(Save):
    def make(self, inputs, folder):
        for path in inputs["artifact"].folder.glob("model.*"):
            (folder / path.name).symlink_to(path)
        return Artifact(Kind.DELIVERY, folder, notes={"file": "model.onnx", "copies": {"model.onnx": "model.onnx"}})


class Silent(Save):
    def make(self, inputs, folder):
        return replace(super().make(inputs, folder), notes={"file": "model.onnx"})


@pytest.mark.parametrize("stage", [Lossy, Forgetful, Linking, Silent])
def test_a_copy_that_is_not_whole_is_not_delivered_and_the_old_one_stays(artifact, store, output, stage):
    deliver(artifact, store, output)
    before = content_of(output)
    with pytest.raises(StageError):
        deliver(artifact, store, output, stage)
    assert content_of(output) == before
    assert beside(output) == []


@pytest.mark.parametrize("name", ["model.onnx", "data/w.bin", "artifact.json"])
def test_a_damaged_original_is_found_set_aside_and_not_delivered(artifact, store, output, name):
    flip(artifact.folder / name)
    with pytest.raises(Damaged):
        deliver(artifact, store, output)
    assert not output.exists()
    assert store.objects.state(artifact.digest) is State.ABSENT
    assert beside(output) == []


def test_damage_comes_before_what_it_made_the_stage_say(artifact, store, output):
    flip(artifact.file)
    with pytest.raises(Damaged):
        deliver(artifact, store, output, hook=raising(ValueError("cannot parse")))


def test_an_original_that_vanished_is_to_be_built_again_and_is_not_the_outputs_fault(artifact, store, output):
    artifact.folder.rename(output.parent / "evicted")
    with pytest.raises(Damaged):
        deliver(artifact, store, output)
    assert not output.exists()


@pytest.mark.parametrize(
    ("code", "says", "command"),
    [
        (errno.ENOSPC, "no space left for output=.*out: .* free", "free some space"),
        (errno.EDQUOT, "no space left for output=.*out: .* free", "free some space"),
        (errno.EACCES, "out cannot be written: no", "output=/another/folder"),
        (errno.EIO, "out failed: no", "output=/another/folder, or run the same command again"),
    ],
)
@pytest.mark.parametrize("where", ["copying", "renaming"])
def test_a_disk_that_refuses_leaves_the_old_delivery_and_says_what_to_do(
    artifact, store, output, monkeypatch, code, says, command, where
):
    deliver(artifact, store, output)
    before, fail = content_of(output), raising(OSError(code, "no"))
    if where == "renaming":
        monkeypatch.setattr("pathlib.Path.rename", fail)
    with pytest.raises(DrydockError, match=says) as caught:
        deliver(artifact, store, output, hook=fail if where == "copying" else lambda inputs: None)
    assert caught.value.problems[0].command.startswith(command)
    assert content_of(output) == before
    assert beside(output) == []


def test_when_the_new_folder_cannot_take_its_place_the_old_one_is_put_back(artifact, store, output, monkeypatch):
    deliver(artifact, store, output)
    before, rename = content_of(output), os.rename

    def refuse_the_new(path, target):
        if target == output and not str(path).endswith(".old"):
            raise OSError(errno.EACCES, "no")
        rename(path, target)

    monkeypatch.setattr("pathlib.Path.rename", refuse_the_new)
    with pytest.raises(ConfigError):
        deliver(artifact, store, output)
    assert content_of(output) == before


def test_an_interrupted_delivery_leaves_the_old_one(artifact, store, output):
    deliver(artifact, store, output)
    before = content_of(output)
    with pytest.raises(KeyboardInterrupt):
        deliver(artifact, store, output, hook=raising(KeyboardInterrupt()))
    assert content_of(output) == before
    assert beside(output) == []


def absent(output):
    pass


def empty(output):
    output.mkdir()


def delivered(output):
    output.mkdir()
    (output / "artifact.json").write_text('{"files": ["model.onnx"]}')
    (output / "model.onnx").write_text("x")


def deep(output):
    output.parent.rmdir()


@pytest.mark.parametrize("prepare", [absent, empty, delivered, deep], ids=lambda f: f.__name__)
def test_a_folder_that_may_be_replaced_passes_and_is_left_alone(tmp_path, prepare):
    output = tmp_path / "below" / "out"
    output.parent.mkdir()
    prepare(output)
    before = sorted(tmp_path.glob("*/**/*"))
    delivery.refuse(output, tmp_path / "store")
    delivery.check(output)
    assert sorted(tmp_path.glob("*/**/*")) == before


def somebodys_folder(output):
    output.mkdir()
    (output / "thesis.tex").write_text("years of work")


def somebodys_file(output):
    output.write_text("years of work")


def a_delivery_with_a_file_of_somebodys(output):
    delivered(output)
    (output / "thesis.tex").write_text("years of work")


SOMEBODYS = [
    (somebodys_folder, "was not delivered by Drydock", "out/artifact"),
    (a_delivery_with_a_file_of_somebodys, "was not delivered by Drydock", "out/artifact"),
    (somebodys_file, "is a file", "artifact"),
]


@pytest.mark.parametrize(("prepare", "says", "instead"), SOMEBODYS)
def test_what_drydock_did_not_deliver_is_refused_and_kept(output, prepare, says, instead):
    prepare(output)
    with pytest.raises(ConfigError, match=says) as caught:
        delivery.refuse(output, output.parent / "store")
    assert caught.value.exit_code == errors.USAGE
    assert caught.value.problems[0].command == f"output={output.parent / instead}"
    assert output.exists()
    assert beside(output) == []


@pytest.mark.parametrize("prepare", [somebodys_folder, somebodys_file], ids=lambda f: f.__name__)
def test_what_came_to_lie_there_during_a_long_run_is_kept_too(artifact, store, output, prepare):
    with pytest.raises((ConfigError, StageError)):
        deliver(artifact, store, output, hook=lambda inputs: prepare(output))
    thesis = output / "thesis.tex" if output.is_dir() else output
    assert thesis.read_text() == "years of work"


@pytest.mark.parametrize("looks", [1, 2])
def test_a_delivery_that_another_run_replaces_during_a_look_is_not_in_the_way(
    artifact, store, output, monkeypatch, looks
):
    others = [output.with_name(f"other{n}") for n in range(looks)]
    for folder in (output, *others):
        deliver(artifact, store, folder)
    real = delivery.read_json

    def read(path):
        if not others:
            return real(path)
        output.rename(output.with_name(f"old{len(others)}"))
        content = real(path)  # of no folder
        others.pop().rename(output)
        return content

    monkeypatch.setattr(delivery, "read_json", read)
    delivery.refuse(output, store.root)
    assert others == []


def test_a_folder_that_cannot_be_written_is_told_before_any_work(output, monkeypatch):
    monkeypatch.setattr("pathlib.Path.mkdir", raising(PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(ConfigError, match="cannot be written: Permission denied") as caught:
        delivery.check(output)
    assert caught.value.problems[0].command == "output=/another/folder"


def test_a_file_where_a_folder_should_be_is_told_before_any_work(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot be written"):
        delivery.check(tmp_path / "file" / "out")


def test_the_store_is_nobodys_output(tmp_path):
    with pytest.raises(ConfigError, match="lies in the store"):
        delivery.refuse(tmp_path / "store" / "objects" / "out", tmp_path / "store")


def test_a_link_stays_and_what_it_leads_to_is_replaced(artifact, store, output):
    real = output.parent / "disk" / "real"
    output.symlink_to(real)  # to nothing as yet
    for _ in range(2):
        delivery.refuse(output, store.root)
        delivery.check(output)
        path, _ = deliver(artifact, store, output)
        assert path == output / "model.onnx"
        assert output.is_symlink()
        assert set(content_of(real)) == {"model.onnx", "data/w.bin", "artifact.json"}
    assert [*beside(output), *beside(real)] == []


def test_a_link_to_itself_is_told(output):
    output.symlink_to(output)
    with pytest.raises(ConfigError, match=r"cannot be written: (File exists|Too many levels)"):
        delivery.check(output / "below")


def killed_at(artifact, store, output, rename):
    """A delivery whose process is killed at its n-th rename of a folder."""

    def work():
        renames = [rename]

        def renaming(path, target, really=os.rename):
            renames[0] -= 1
            if not renames[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            really(path, target)

        os.rename = renaming
        deliver(artifact, store, output)

    process = child(work)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("rename", [1, 2])
def test_what_a_killed_delivery_left_is_gone_before_the_next_and_the_earlier_one_is_back(
    artifact, store, output, rename
):
    deliver(artifact, store, output)
    before = content_of(output)
    killed_at(artifact, store, output, rename)
    assert len(beside(output)) == rename
    assert output.exists() == (rename == 1)
    delivery.check(output)
    assert content_of(output) == before
    assert beside(output) == []


def test_what_several_killed_deliveries_left_in_one_folder_is_gone_too(artifact, store, output):
    killed_at(artifact, store, output / "save", 1)
    (output / "log").unlink()
    delivery.refuse(output, store.root)
    delivery.check(output)
    assert list(output.iterdir()) == []


def test_a_living_neighbours_delivery_is_left_alone(artifact, store, output):
    neighbours = []

    def look(inputs):
        delivery.check(output)
        neighbours.extend(beside(output))

    deliver(artifact, store, output, hook=look)
    assert len(neighbours) == 1


def test_what_has_only_such_a_name_is_left_alone(output):
    (output.parent / ".other.0123abcd").mkdir()
    (output.parent / ".out.0123abcd").write_text("a file")
    delivery.check(output)
    assert len(list(output.parent.glob(".*"))) == 2


def test_an_earlier_delivery_that_was_half_removed_is_not_put_back(artifact, store, output):
    deliver(artifact, store, output)
    (output / "model.onnx").unlink()
    output.rename(output.parent / ".out.0123abcd.old")
    delivery.check(output)
    assert list(output.parent.glob("*out*")) == []


def test_a_probe_that_another_run_takes_for_a_dead_ones_is_no_error(tmp_path, monkeypatch):
    real = os.rmdir

    def overtaken(path, **kwargs):
        real(path, **kwargs)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))

    monkeypatch.setattr(os, "rmdir", overtaken)
    delivery.check(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_delivery_that_comes_between_the_two_renames_is_replaced_in_its_turn(tmp_path, monkeypatch):
    output, new, other = (tmp_path / name for name in ("out", ".out.01234567", "another"))
    for folder in (output, new, other):
        folder.mkdir()
        (folder / "by").write_text(folder.name)
    rename = Path.rename

    def renamed(path, target):
        rename(path, target)
        if path == output and other.exists():
            rename(other, output)

    monkeypatch.setattr(Path, "rename", renamed)
    swap(new, output)
    assert (output / "by").read_text() == new.name
    assert list(tmp_path.iterdir()) == [output]
