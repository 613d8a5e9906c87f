"""The store's front: what is published can be opened, what fails says what to do, and the dead are cleared away."""

import errno
import fcntl
import json
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest

from pipeline import errors
from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, StageError
from pipeline.store import Damaged, Entry, Store, files
from stages.onnx.format import ONNX
from tests.pipeline.conftest import child, exit_code, flip, raising


def publish(store, content="graph", **facts):
    with store.staging() as folder:
        (folder / "model.onnx").write_text(content)
        return store.publish(Artifact(ONNX, folder, facts=facts, notes={"says": "x"}, live="live"))


def entry_of(artifact, key="0a" * 32, **settings):
    document = {"stage": "stages.export.Export", "settings": settings}
    return Entry(key, document, artifact.digest, str(artifact.kind), {}, 0.5)


def test_what_is_published_can_be_opened_with_its_facts(store):
    artifact = publish(store, opset=18)
    assert store.open(artifact.digest) == Artifact(ONNX, artifact.folder, facts={"opset": 18}, digest=artifact.digest)
    assert store.glance(artifact.digest) == store.open(artifact.digest)
    assert artifact.file.read_text() == "graph"


def test_what_is_published_keeps_its_live_object_and_notes(store):
    artifact = publish(store)
    assert (artifact.live, artifact.notes) == ("live", {"says": "x"})


def test_facts_are_part_of_the_content_and_notes_are_not(store):
    assert publish(store, opset=18).digest == publish(store, opset=18).digest != publish(store, opset=20).digest


def test_an_artifact_in_memory_cannot_be_stored(store):
    with pytest.raises(StageError, match="module artifact without files"):
        store.publish(Artifact(Kind.MODULE, live="net"))


def test_what_is_absent_cannot_be_opened(store):
    with pytest.raises((FileNotFoundError, Damaged)):
        store.open("ab" * 32)


@pytest.mark.parametrize("name", ["model.onnx", "artifact.json"])
def test_what_is_damaged_is_not_opened_even_when_its_time_was_set_back(store, name):
    artifact = publish(store)
    flip(artifact.folder / name)
    with pytest.raises(Damaged) as caught:
        store.open(artifact.digest)
    assert caught.value.digest == artifact.digest
    assert len(list((store.root / "quarantine").iterdir())) == 1


def test_a_glance_at_an_object_without_facts_says_that_it_is_damaged(store):
    artifact = publish(store)
    (artifact.folder / "artifact.json").unlink()
    with pytest.raises(Damaged):
        store.glance(artifact.digest)


def test_a_store_is_marked_with_its_format_and_opened_again(store):
    assert json.loads((store.root / "format.json").read_text()) == {"format": 1, "digest": "sha256"}
    artifact = publish(store)
    assert Store(store.root).open(artifact.digest).digest == artifact.digest


@pytest.mark.parametrize(
    "found", [{"format": 2, "digest": "sha256"}, {"format": 1, "digest": "blake3"}, {}, [], "x", None]
)
def test_a_store_of_another_format_is_neither_read_nor_written(tmp_path, found):
    (tmp_path / "format.json").write_text(json.dumps(found))
    with pytest.raises(ConfigError, match="was written in format") as caught:
        Store(tmp_path)
    assert caught.value.exit_code == errors.USAGE
    assert caught.value.problems[0].command
    assert [p.name for p in tmp_path.iterdir()] == ["format.json"]


def test_a_store_where_a_file_is_in_the_way_says_so(tmp_path):
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="cannot be written") as caught:
            Store(root)
        assert "DRYDOCK_STORE" in caught.value.problems[0].command


SAYS = {
    errno.ENOSPC: (StageError, r"no space left .*: \d+\.\d [KMGT]iB free"),
    errno.EDQUOT: (StageError, r"no space left"),
    errno.EACCES: (ConfigError, r"cannot be written: "),
    errno.EROFS: (ConfigError, r"cannot be written: "),
    errno.EIO: (StageError, r"failed: no"),
    errno.EMFILE: (StageError, r"failed: no"),
}


@pytest.mark.parametrize("code", SAYS, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.rename"])
def test_a_publish_that_fails_says_what_to_do_and_leaves_nothing(store, monkeypatch, call, code):
    error, says = SAYS[code]
    with monkeypatch.context() as patch:
        patch.setattr(call, raising(OSError(code, "no")))
        with pytest.raises(error, match=says) as caught:
            publish(store)
    assert caught.value.problems[0].command
    assert isinstance(caught.value.__cause__, OSError)
    assert not [*store.root.glob("objects/*/*/")]
    assert not [*store.root.glob("staging/*")]
    assert store.open(publish(store).digest)


@pytest.mark.parametrize("code", SAYS, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["os.link", "os.fsync"])
def test_an_entry_that_cannot_be_recorded_says_what_to_do(store, monkeypatch, call, code):
    error, says = SAYS[code]
    entry = entry_of(publish(store))
    with monkeypatch.context() as patch:
        patch.setattr(call, raising(OSError(code, "no")))
        with pytest.raises(error, match=says):
            store.record(entry)
    assert not [*store.root.glob("actions/*/*"), *store.root.glob("actions/*/.*")]
    assert store.record(entry) == entry


@pytest.mark.parametrize("code", SAYS, ids=errno.errorcode.get)
def test_a_build_folder_that_cannot_be_made_says_what_to_do(store, monkeypatch, code):
    error, says = SAYS[code]
    monkeypatch.setattr("pathlib.Path.mkdir", raising(OSError(code, "no")))
    with pytest.raises(error, match=says), store.staging():
        pass


def test_damage_that_cannot_be_set_aside_says_what_to_do(store, monkeypatch):
    artifact = publish(store)
    flip(artifact.file)
    monkeypatch.setattr("pathlib.Path.rename", raising(OSError(errno.EACCES, "no")))
    with pytest.raises(ConfigError, match="cannot be written"):
        store.open(artifact.digest)


def test_a_link_among_the_files_is_the_stages_failure(store):
    with store.staging() as folder:
        (folder / "model.onnx").symlink_to("elsewhere")
        with pytest.raises(StageError, match="not a plain file"):
            store.publish(Artifact(ONNX, folder))


def test_a_build_folder_is_private_empty_and_gone_afterwards(store):
    with store.staging() as one, store.staging() as two:
        assert one != two
        assert [*one.iterdir(), *two.iterdir()] == []
        (one / "half").write_text("x")
    assert [*(store.root / "staging").iterdir(), *(store.root / "marks").iterdir()] == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_build_that_fails_leaves_no_folder(store, error):
    def build():
        with store.staging() as folder:
            (folder / "half").write_text("x")
            raise error

    with pytest.raises(error):
        build()
    assert [*(store.root / "staging").iterdir(), *(store.root / "marks").iterdir()] == []


def test_the_folders_of_the_living_stay_and_those_of_the_dead_are_swept(store):
    reading, writing = os.pipe()

    def build():
        with store.staging() as folder:
            (folder / "half").write_text("x")
            os.write(writing, b"x")
            signal.pause()

    process = child(build)
    process.start()
    os.read(reading, 1)
    store.sweep()
    assert len([*(store.root / "staging").glob("*/half")]) == 1
    process.kill()
    process.join()
    store.sweep()
    assert [*(store.root / "staging").iterdir(), *(store.root / "marks").iterdir()] == []


def die_in(work):
    """Runs something in a process of its own, until it is killed there, by itself."""
    process = child(work)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def die(*args):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_file_that_the_dead_had_half_written_is_gone_after_the_next_run(store):
    def run():
        with store.in_use():
            Path.replace = die
            files.write_json(store.root / "seen" / "x.json", {})

    die_in(run)
    assert [p.name[:8] for p in (store.root / "seen").iterdir()] == [".x.json."]
    with files.hidden(store.root / "seen" / "y.json") as living, store.in_use():
        assert list((store.root / "seen").iterdir()) == [living]
    assert list((store.root / "marks").iterdir()) == []


def test_what_lies_among_the_build_folders_and_is_none_is_gone_after_the_next_run(store, tmp_path):
    (tmp_path / "kept").mkdir()
    (store.root / "staging" / "link").symlink_to(tmp_path / "kept")
    (store.root / "staging" / "file").write_text("x")
    (store.root / "staging" / "folder").mkdir()
    (store.root / "marks").mkdir(exist_ok=True)
    (store.root / "marks" / f"staging-{'a' * 32}.lock").write_text("")  # its folder never came
    store.sweep()
    assert [*(store.root / "staging").iterdir(), *(store.root / "marks").iterdir()] == []
    assert (tmp_path / "kept").is_dir()


def test_a_store_that_can_only_be_read_is_read(store, monkeypatch):
    artifact = publish(store)
    monkeypatch.setattr("filelock.FileLock.acquire", raising(OSError(errno.EROFS, "Read-only file system")))
    with store.in_use():
        assert store.open(artifact.digest)


def test_a_file_that_outgrows_what_a_process_may_write_is_told(store):
    entry = entry_of(publish(store))

    def record():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
        with pytest.raises(StageError, match="File too large") as caught:
            store.record(entry)
        os._exit(0 if caught.value.problems[0].command.startswith("`ulimit -f unlimited`") else 1)

    assert exit_code(record) == 0


def test_a_store_that_vanishes_ends_no_sweep(store):
    shutil.rmtree(store.root)
    store.sweep()


def test_a_file_system_without_locks_is_worked_on_and_nobody_there_is_taken_for_dead(store, monkeypatch, caplog):
    monkeypatch.setattr(fcntl, "flock", raising(OSError(errno.ENOLCK, "No locks available")))
    with store.staging() as folder:
        (folder / "half").write_text("x")
        store.sweep()
        assert (folder / "half").exists()
    assert "has no locks (No locks available)" in caplog.text


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP], ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["os.link", "pathlib.Path.chmod"])
def test_a_file_system_without_links_or_modes_is_worked_on(store, monkeypatch, call, code):
    monkeypatch.setattr(call, raising(OSError(code, "no")))
    first, second = entry_of(publish(store, "one")), entry_of(publish(store, "two"))
    assert store.record(first) == store.record(second) == first


def test_a_process_without_file_descriptors_takes_no_object_for_damaged(store, monkeypatch):
    artifact = publish(store)
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.open", raising(OSError(errno.EMFILE, "Too many open files")))
        with pytest.raises(StageError, match="Too many open files") as caught:
            store.open(artifact.digest)
    assert "ulimit -n" in caught.value.problems[0].command
    assert store.open(artifact.digest)


def test_what_fails_while_cleaning_up_does_not_hide_what_failed_first(store, monkeypatch):
    def build():
        with store.staging():
            monkeypatch.setattr("pathlib.Path.rglob", raising(OSError(errno.EIO, "again")))
            monkeypatch.setattr("pathlib.Path.unlink", raising(OSError(errno.EIO, "again")))
            monkeypatch.setattr(fcntl, "flock", raising(OSError(errno.EIO, "again")))
            raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        build()


def test_a_build_of_our_own_is_not_swept(store):
    with store.staging() as folder:
        store.sweep()
        assert folder.is_dir()


def test_an_entry_is_recorded_once(store):
    first, second = entry_of(publish(store, "one")), entry_of(publish(store, "two"))
    assert store.record(first) == store.record(second) == first
    assert store.record(second, replacing=first.digest) == second


def test_a_miss_is_explained_by_the_nearest_build(store):
    artifact = publish(store)
    store.record(entry_of(artifact, "0a" * 32, opset=17, mode="a"))
    store.record(entry_of(artifact, "0b" * 32, opset=18, mode="b"))
    wanted = entry_of(artifact, opset=18, mode="c").key_document
    assert store.why_missed(wanted) == "settings.mode: b → c"


def test_a_miss_names_three_reasons_at_most(store):
    artifact = publish(store)
    store.record(entry_of(artifact, a=1, b=1, c=1, d=1))
    wanted = entry_of(artifact, a=2, b=2, c=2, d=2).key_document
    assert store.why_missed(wanted) == "settings.a: 1 → 2; settings.b: 1 → 2; settings.c: 1 → 2"


def test_a_stage_that_no_one_built_says_so(store):
    assert store.why_missed(entry_of(publish(store)).key_document) == "never built"


def hidden_names(root):
    return [p.name for p in root.rglob(".*")]


@pytest.mark.parametrize("write", ["made", "run"])
def test_a_death_in_a_write_outside_of_any_run_leaves_a_mark_of_it(tmp_path, monkeypatch, write):
    """When the store is made, and when a note says that a run is one's own."""
    root = tmp_path / "store"
    if write == "run":
        Store(root)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *args: os._exit(9))
        assert exit_code(lambda: Store(root).note_run({"a": "run"})) == 9
    assert hidden_names(root)
    with Store(root).in_use():
        assert hidden_names(root) == []


def test_the_mark_of_a_dead_run_stays_while_its_files_do(store, monkeypatch):
    """Another user cannot remove them: that is left to the runs of the one who died."""
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *args: os._exit(9))
        assert exit_code(lambda: store.note_run({"a": "run"})) == 9
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.store.litter.remove_dead", lambda folder: False)
        store.sweep()
    assert hidden_names(store.root)
    store.sweep()
    assert hidden_names(store.root) == []
    assert list((store.root / "marks").iterdir()) == []


def test_a_pipe_in_the_place_of_the_mark_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "format.json")
    with pytest.raises(ConfigError, match="torn"):
        Store(tmp_path)


def test_a_death_before_a_store_has_a_place_for_marks_leaves_nothing_either(tmp_path, monkeypatch):
    root = tmp_path / "store"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *args: os._exit(9))
        assert exit_code(lambda: Store(root)) == 9
    assert hidden_names(root)
    Store(root)
    assert hidden_names(root) == []


def test_what_is_looked_at_of_an_object_is_told_in_words_when_it_cannot_be(store, monkeypatch):
    artifact = publish(store)
    monkeypatch.setattr(Path, "is_dir", raising(OSError(errno.EIO, "input/output error")))
    for look in (store.glance, store.files, store.open):
        with pytest.raises(StageError, match="failed"):
            look(artifact.digest)
