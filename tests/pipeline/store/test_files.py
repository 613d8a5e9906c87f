"""Files that appear whole or not at all, and digests of what is in them."""

import contextlib
import errno
import hashlib
import json
import os
import socket
import stat

import pytest

from pipeline.store import files
from pipeline.store.files import FileRecord
from tests.pipeline.conftest import raising, restore_mtime


@pytest.fixture
def folder(tmp_path):
    """Three files, one of them in a folder of its own that sorts between the others."""
    path = tmp_path / "artifact"
    (path / "b").mkdir(parents=True)
    for name in ("a", "b/x", "c"):
        (path / name).write_text(f"content of {name}")
    return path


def test_a_digest_is_the_sha256_of_the_content(folder):
    assert files.sha256(folder / "a") == hashlib.sha256(b"content of a").hexdigest()


def test_records_list_every_file_in_order_with_size_and_digest(folder):
    found = files.records(folder, shared={})
    assert [(r.path, r.size) for r in found] == [("a", 12), ("b/x", 14), ("c", 12)]
    assert found[1].sha256 == hashlib.sha256(b"content of b/x").hexdigest()


def test_an_empty_folder_has_no_records(tmp_path):
    assert files.records(tmp_path, shared={}) == []


def link_to_a_file(path, target):
    path.symlink_to(target)


def link_to_a_folder(path, target):
    path.symlink_to(target.parent)


def dangling_link(path, target):
    path.symlink_to("nowhere")


def hard_link(path, target):
    path.hardlink_to(target)


def fifo(path, target):
    os.mkfifo(path)


def unix_socket(path, target):
    # A socket's path may be no longer than a hundred characters, so it is bound by its bare name.
    before = os.getcwd()  # noqa: PTH109
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path.name)
    os.chdir(before)


@pytest.mark.parametrize(
    "make", [link_to_a_file, link_to_a_folder, dangling_link, hard_link, fifo, unix_socket], ids=lambda f: f.__name__
)
def test_links_and_special_files_are_refused(folder, tmp_path, make):
    (tmp_path / "outside").write_text("x")
    make(folder / "b" / "odd", tmp_path / "outside")
    with pytest.raises(ValueError, match=r"odd is not a plain file"):
        files.records(folder, shared={})


A, B = FileRecord("a", 1, "0" * 64), FileRecord("b", 2, "1" * 64)


def test_a_tree_is_identified_whatever_the_order_of_its_files():
    assert files.tree_digest([A, B]) == files.tree_digest([B, A])


@pytest.mark.parametrize(
    "other",
    [
        [A],
        [A, FileRecord("b", 2, "2" * 64)],
        [A, FileRecord("b", 3, "1" * 64)],
        [A, FileRecord("c", 2, "1" * 64)],
        [FileRecord("b", 1, "0" * 64), FileRecord("a", 2, "1" * 64)],
    ],
    ids=["fewer", "content", "size", "name", "swapped"],
)
def test_a_tree_is_told_apart_by_names_sizes_and_content(other):
    assert files.tree_digest(other) != files.tree_digest([A, B])


def test_a_line_break_in_a_name_cannot_pass_for_two_files():
    forged = FileRecord(f"a\n{B.sha256} {B.size} b", A.size, A.sha256)
    assert files.tree_digest([forged]) != files.tree_digest([A, B])


def test_a_stamp_changes_with_content_even_when_size_and_time_are_set_back(folder):
    path = folder / "a"
    before, old = path.stat(), files.stamp(path)
    path.write_text("CONTENT OF A")
    restore_mtime(path, before)
    assert files.stamp(path)[:2] == old[:2]
    assert files.stamp(path) != old


def test_a_stamp_changes_when_a_file_is_replaced_by_an_older_one(folder):
    old = files.stamp(folder / "a")
    (folder / "c").replace(folder / "a")
    assert files.stamp(folder / "a") != old


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1', b"\xff", b"nothing"])
def test_what_is_not_json_reads_as_nothing(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    assert files.read_json(tmp_path / "x.json") is None


def test_what_is_nested_beyond_reason_reads_as_nothing(tmp_path):
    (tmp_path / "x.json").write_text("[" * 100_000)
    assert files.read_json(tmp_path / "x.json") is None


def test_an_absent_file_and_a_folder_read_as_nothing(tmp_path):
    assert files.read_json(tmp_path / "absent.json") is None
    assert files.read_json(tmp_path) is None


def test_a_file_that_could_exhaust_memory_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "x.json").write_text("[1234]")
    monkeypatch.setattr(files, "LARGEST_JSON", 6)
    assert files.read_json(tmp_path / "x.json") == [1234]
    monkeypatch.setattr(files, "LARGEST_JSON", 5)
    assert files.read_json(tmp_path / "x.json") is None


def test_json_is_written_with_the_folders_it_needs_and_read_back(tmp_path):
    files.write_json(tmp_path / "a" / "b" / "x.json", {"b": [1, "größe"], "a": None})
    assert files.read_json(tmp_path / "a" / "b" / "x.json") == {"b": [1, "größe"], "a": None}
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["x.json"]


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace", "json.dump"])
def test_a_write_that_fails_leaves_the_old_content_and_no_litter(tmp_path, monkeypatch, call):
    files.write_json(tmp_path / "x.json", "old")
    monkeypatch.setattr(call, raising(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        files.write_json(tmp_path / "x.json", "new", durable=True)
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert json.loads((tmp_path / "x.json").read_text()) == "old"


@pytest.mark.parametrize(("durable", "synced"), [(True, ["file before", "folder after"]), (False, [])])
def test_a_durable_write_syncs_the_file_before_and_the_folder_after_its_rename(tmp_path, monkeypatch, durable, synced):
    seen = []

    def fsync(fd):
        what = "folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"
        seen.append(f"{what} {'after' if (tmp_path / 'x.json').exists() else 'before'}")

    monkeypatch.setattr(os, "fsync", fsync)
    files.write_json(tmp_path / "x.json", 1, durable=durable)
    assert seen == synced


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(folder, monkeypatch):
    def scandir(path, real=os.scandir):
        if str(path).endswith("b"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError):
        files.records(folder, shared={})


def test_a_pipe_in_the_place_of_json_is_none(tmp_path):
    os.mkfifo(tmp_path / "x.json")
    assert files.read_json(tmp_path / "x.json") is None


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_wait_for_the_disk_is_written_to(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "fsync", raising(OSError(code, "no")))
    files.write_json(tmp_path / "x.json", [1], durable=True)
    assert files.read_json(tmp_path / "x.json") == [1]


@pytest.mark.parametrize("call", ["os.fstat", "os.unlink"])
def test_nothing_hidden_is_left_by_an_operation_that_fails_once(tmp_path, monkeypatch, call):
    name = call.removeprefix("os.")
    real, failed = getattr(os, name), []

    def once(*args, **kwargs):
        if not failed:
            failed.append(args)
            raise OSError(errno.EIO, "input/output error")
        return real(*args, **kwargs)

    monkeypatch.setattr(call, once)
    with contextlib.suppress(OSError), files.hidden(tmp_path / "value.json"):
        pass
    assert failed
    assert list(tmp_path.iterdir()) == []


def test_an_empty_hidden_folder_is_the_deads_and_one_that_cannot_be_opened_is_still_there(tmp_path, monkeypatch):
    (tmp_path / ".locks.0123abcd").mkdir()
    assert files.remove_dead(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".x.json.0123abcd").write_text("")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", raising(PermissionError(errno.EACCES, "another user's")))
        assert not files.remove_dead(tmp_path)
    assert files.remove_dead(tmp_path)
    assert files.remove_dead(tmp_path / "nowhere")


def test_a_folder_is_removed_as_far_as_it_can_be(tmp_path, monkeypatch):
    (tmp_path / "full" / "of").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", raising(OSError(errno.EIO, "input/output error")))
        files.remove_tree(tmp_path / "full")
    files.remove_tree(tmp_path / "full")
    assert list(tmp_path.iterdir()) == []
