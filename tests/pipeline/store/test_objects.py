"""Immutable artifacts: published whole, named by their content, and found out when they have changed."""

import errno
import json
import logging
import os

import pytest

from pipeline.store.objects import Damaged, Objects, State
from tests.pipeline.conftest import flip, raising, restore_mtime

# Every kind of file that a store holds, by what a reader would do with it.
CONTENT = {
    "artifact.json": b'{"kind": "onnx", "facts": {"opset": 18}}',
    "model.onnx": bytes(range(256)),
    "model.xml": b"<net/>",
    "weights/0.bin": b"\0" * 100,
    "empty": b"",
}
FILES = [name for name, content in CONTENT.items() if content]


@pytest.fixture
def objects(tmp_path):
    return Objects(tmp_path / "store")


@pytest.fixture
def staged(tmp_path):
    """Makes folders to publish, by default all with the same content."""

    def make(name="staged", **more):
        folder = tmp_path / "store" / "staging" / name
        for path, content in (CONTENT | more).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        return folder

    return make


def quarantined(objects, digest):
    return list((objects.folder(digest).parents[2] / "quarantine").glob(f"{digest}.*"))


def content_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_published_folder_is_moved_to_its_digest(objects, staged):
    folder = staged()
    digest = objects.publish(folder)
    assert content_of(objects.folder(digest)) == CONTENT
    assert not folder.exists()
    assert objects.state(digest) is objects.state(digest, thorough=True) is State.PRESENT


def test_published_files_are_read_only(objects, staged):
    folder = objects.folder(objects.publish(staged()))
    assert {p.stat().st_mode & 0o777 for p in folder.rglob("*") if p.is_file()} == {0o444}


def test_the_manifest_lists_every_file(objects, staged):
    found = objects.files(objects.publish(staged()))
    assert {f.path: f.size for f in found} == {name: len(content) for name, content in CONTENT.items()}


def test_equal_content_from_two_builders_is_one_object(objects, staged):
    first, second = objects.publish(staged("one")), objects.publish(staged("two"))
    assert first == second
    assert len([*objects.folder(first).parents[1].glob("*/*/")]) == 1


def test_a_builder_that_loses_the_race_takes_the_winners_object(objects, staged, monkeypatch):
    digest = objects.publish(staged("one"))
    # The loser looked before the winner had renamed.
    monkeypatch.setattr(objects, "state", lambda *a, **k: State.ABSENT)
    assert objects.publish(staged("two")) == digest
    assert content_of(objects.folder(digest)) == CONTENT


def test_other_content_is_another_object(objects, staged):
    assert objects.publish(staged("one")) != objects.publish(staged("two", extra=b"x"))


def test_publishing_over_a_damaged_object_repairs_it(objects, staged):
    digest = objects.publish(staged("one"))
    flip(objects.folder(digest) / "model.onnx")
    assert objects.publish(staged("two")) == digest
    assert content_of(objects.folder(digest)) == CONTENT
    assert len(quarantined(objects, digest)) == 1


def test_a_link_is_not_published(objects, staged):
    folder = staged()
    (folder / "weights" / "1.bin").symlink_to("0.bin")
    with pytest.raises(ValueError, match="not a plain file"):
        objects.publish(folder)
    assert not folder.parents[1].joinpath("objects").exists()


def test_nothing_is_visible_before_all_of_it_is_on_the_disk(objects, staged, monkeypatch):
    synced, folder = [], staged()
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    monkeypatch.setattr("pathlib.Path.rename", raising(OSError(errno.EIO, "power is lost")))
    with pytest.raises(OSError, match="power is lost"):
        objects.publish(folder)
    assert {(folder / name).stat().st_ino for name in CONTENT} <= set(synced)


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.rename"])
def test_a_failed_publish_is_not_seen_and_can_be_repeated(objects, staged, monkeypatch, call):
    with monkeypatch.context() as patch:
        patch.setattr(call, raising(OSError(errno.EIO, "input/output error")))
        with pytest.raises(OSError, match="input/output"):
            objects.publish(staged("one"))
    assert not [*(staged("one").parents[1] / "objects").glob("*/*/")]
    assert objects.state(objects.publish(staged("one"))) is State.PRESENT


def test_what_was_never_published_is_absent(objects):
    assert objects.state("ab" * 32, thorough=True) is State.ABSENT


SIZES = {
    "nothing": lambda size: 0,
    "a byte": lambda size: 1,
    "half": lambda size: size // 2,
    "a byte less": lambda size: size - 1,
    "a byte more": lambda size: size + 1,
}


def resize(path, size):
    """Truncates a file, or makes it longer, and sets the time of the last change back."""
    before = path.stat()
    path.chmod(0o644)
    os.truncate(path, size)
    restore_mtime(path, before)


@pytest.mark.parametrize("thorough", [True, False], ids=["open", "plan"])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_file_of_another_length_is_set_aside(objects, staged, name, size, thorough):
    digest = objects.publish(staged())
    resize(objects.folder(digest) / name, size(len(CONTENT[name])))
    assert objects.state(digest, thorough=thorough) is State.DAMAGED
    assert objects.state(digest) is State.ABSENT
    assert len(quarantined(objects, digest)) == 1


@pytest.mark.parametrize("thorough", [True, False], ids=["open", "plan"])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("bit", [0, 7, -1], ids=["first", "eighth", "last"])
def test_a_flipped_bit_is_set_aside(objects, staged, name, bit, thorough):
    digest = objects.publish(staged())
    flip(objects.folder(digest) / name, bit % (len(CONTENT[name]) * 8))
    assert objects.state(digest, thorough=thorough) is State.DAMAGED
    assert objects.state(digest) is State.ABSENT


@pytest.mark.parametrize("thorough", [True, False], ids=["open", "plan"])
@pytest.mark.parametrize("name", CONTENT)
def test_a_lost_file_is_set_aside(objects, staged, name, thorough):
    digest = objects.publish(staged())
    (objects.folder(digest) / name).unlink()
    assert objects.state(digest, thorough=thorough) is State.DAMAGED


def test_a_file_too_many_is_found_before_the_object_is_read(objects, staged):
    digest = objects.publish(staged())
    (objects.folder(digest) / "intruder").write_text("x")
    assert objects.state(digest, thorough=True) is State.DAMAGED


def test_a_file_replaced_by_a_link_to_the_same_content_is_found(objects, staged, tmp_path):
    digest = objects.publish(staged())
    (tmp_path / "elsewhere").write_bytes(CONTENT["model.onnx"])
    (objects.folder(digest) / "model.onnx").unlink()
    (objects.folder(digest) / "model.onnx").symlink_to(tmp_path / "elsewhere")
    assert objects.state(digest) is State.DAMAGED


def test_damage_is_kept_as_evidence_and_said_once(objects, staged, caplog):
    digest = objects.publish(staged())
    flip(objects.folder(digest) / "model.xml")
    with caplog.at_level(logging.WARNING):
        objects.state(digest)
        objects.state(digest)
    assert len(caplog.messages) == 1
    assert digest[:12] in caplog.text
    (kept,) = quarantined(objects, digest)
    assert set(content_of(kept)) == set(CONTENT)


def test_an_object_can_be_damaged_twice(objects, staged):
    for name in ("one", "two"):
        digest = objects.publish(staged(name))
        flip(objects.folder(digest) / "model.xml")
        assert objects.state(digest) is State.DAMAGED
    assert len(quarantined(objects, digest)) == 2


def lose(manifest):
    manifest.unlink()


def tear(manifest):
    os.truncate(manifest, manifest.stat().st_size // 2)


def garble(manifest):
    manifest.write_text("[1, 2]")


def shorten(manifest):
    manifest.write_text(json.dumps(json.loads(manifest.read_text())[1:]))


def mistake_a_size(manifest):
    listed = json.loads(manifest.read_text())
    listed[0]["size"] += 1
    manifest.write_text(json.dumps(listed))


def mistake_a_digest(manifest):
    listed = json.loads(manifest.read_text())
    listed[0]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(listed))


@pytest.mark.parametrize(
    "harm", [lose, tear, garble, shorten, mistake_a_size, mistake_a_digest], ids=lambda f: f.__name__
)
def test_a_manifest_that_is_lost_torn_or_wrong_is_derived_again(objects, staged, harm):
    digest = objects.publish(staged())
    whole = objects.files(digest)
    harm(objects.folder(digest).with_suffix(".json"))
    assert objects.state(digest, thorough=True) is State.PRESENT
    assert objects.files(digest) == whole


@pytest.mark.parametrize("harm", [lose, tear], ids=lambda f: f.__name__)
def test_files_without_a_manifest_are_damaged_not_empty(objects, staged, harm):
    digest = objects.publish(staged())
    harm(objects.folder(digest).with_suffix(".json"))
    with pytest.raises(Damaged):
        objects.files(digest)


def test_a_look_at_an_untouched_object_hashes_nothing_and_a_thorough_one_everything(objects, staged, monkeypatch):
    digest = objects.publish(staged())
    monkeypatch.setattr("pipeline.store.files.sha256", raising(AssertionError("hashed")))
    assert objects.state(digest) is State.PRESENT
    with pytest.raises(AssertionError, match="hashed"):
        objects.state(digest, thorough=True)


def test_a_touched_but_equal_object_is_hashed_once_and_then_trusted_again(objects, staged, monkeypatch):
    digest = objects.publish(staged())
    os.utime(objects.folder(digest) / "model.onnx", ns=(1, 1))
    assert objects.state(digest) is State.PRESENT
    monkeypatch.setattr("pipeline.store.files.sha256", raising(AssertionError("hashed")))
    assert objects.state(digest) is State.PRESENT


def test_a_store_that_cannot_be_written_still_serves_an_object_it_must_hash(objects, staged, monkeypatch):
    digest = objects.publish(staged())
    lose(objects.folder(digest).with_suffix(".json"))
    monkeypatch.setattr("pathlib.Path.replace", raising(PermissionError(errno.EROFS, "read-only")))
    assert objects.state(digest) is State.PRESENT


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EMFILE, errno.ENOSPC], ids=errno.errorcode.get)
def test_an_error_that_says_nothing_of_a_file_is_no_damage(objects, staged, monkeypatch, code):
    digest = objects.publish(staged())
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.store.objects.records", raising(OSError(code, os.strerror(code))))
        with pytest.raises(OSError, match=os.strerror(code)):
            objects.state(digest, thorough=True)
    assert objects.state(digest, thorough=True) is State.PRESENT
