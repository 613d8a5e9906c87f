"""Errors of the operating system have a message and the exit code of their kind."""

import contextlib
import errno
import os
import shutil
import socket
from pathlib import Path

import pytest

from pipeline import disk, errors

NEW = "store=/new"
CASES = [
    (errno.ENOSPC, errors.STAGE_FAILED, "no space left for store=HERE: ", "free some space"),
    (errno.EDQUOT, errors.STAGE_FAILED, "no space left for store=HERE: ", "free some space"),
    (errno.EACCES, errors.USAGE, "store=HERE cannot be written: ", NEW),
    (errno.EPERM, errors.USAGE, "store=HERE cannot be written: ", NEW),
    (errno.EROFS, errors.USAGE, "store=HERE cannot be written: ", NEW),
    (errno.ENAMETOOLONG, errors.USAGE, "store=HERE cannot be written: ", NEW),
    (errno.ENOENT, errors.USAGE, "store=HERE cannot be written: ", NEW),
    (errno.EIO, errors.STAGE_FAILED, "store=HERE failed: ", NEW),
    (errno.ESTALE, errors.STAGE_FAILED, "store=HERE failed: ", "run the same command again"),
    (errno.EMFILE, errors.STAGE_FAILED, "store=HERE failed: ", "`ulimit -n 4096`"),
    (errno.ENFILE, errors.STAGE_FAILED, "store=HERE failed: ", "end other programs"),
    (errno.EFBIG, errors.STAGE_FAILED, "store=HERE failed: ", "`ulimit -f unlimited`"),
    (errno.EINTR, errors.STAGE_FAILED, "store=HERE failed: ", "run the same command again"),
    (errno.ENOTSUP, errors.STAGE_FAILED, "store=HERE failed: ", NEW),
    (errno.ETXTBSY, errors.STAGE_FAILED, "store=HERE failed: ", NEW),
]


@pytest.mark.parametrize(("code", "exit_code", "says", "command"), CASES, ids=[errno.errorcode[c[0]] for c in CASES])
def test_each_refusal_has_its_words(tmp_path, code, exit_code, says, command):
    file = tmp_path / "objects" / "x"
    with pytest.raises(errors.DrydockError) as caught, disk.explained(f"store={tmp_path}", NEW, tmp_path):
        raise OSError(code, os.strerror(code), str(file))
    (problem,) = caught.value.problems
    assert caught.value.exit_code == exit_code
    assert problem.what.startswith(says.replace("HERE", str(tmp_path)))
    assert problem.command.startswith(command)
    if exit_code == errors.USAGE or "failed" in says:
        assert f"{os.strerror(code)} at {file}" in problem.what


def test_what_nobody_explained_is_told_by_its_file(tmp_path):
    with pytest.raises(OSError, match="such file") as caught:
        (tmp_path / "gone").read_text()
    error = disk.of_unknown(caught.value)
    assert error is not None
    assert str(error).startswith(f"{tmp_path}/gone: No such file")


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError("words alone"), ConnectionResetError(errno.ECONNRESET, "x")]
)
def test_what_is_no_files_is_not_told_so(error):
    assert disk.of_unknown(error) is None


def test_a_file_system_that_takes_no_more_files_is_not_said_to_be_full(tmp_path, monkeypatch):
    stats = os.statvfs(tmp_path)
    full = os.statvfs_result((*stats[:5], 1000, 0, 0, *stats[8:]))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    assert disk.room(tmp_path / "not" / "yet").endswith("takes no more files (inodes)")


def test_what_has_no_content_of_its_own_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(tmp_path / "socket"))
    (tmp_path / "file").write_text("x")
    paths = [tmp_path / "pipe", tmp_path / "socket", Path("/dev/zero"), tmp_path / "file", tmp_path, tmp_path / "gone"]
    assert [disk.special(p) for p in paths] == ["a named pipe", "a socket", "a device", "", "", ""]


def test_a_tree_that_cannot_be_copied_is_told_by_its_first_file():
    error = disk.of_unknown(shutil.Error([("a", "b", "[Errno 5] Input/output error: 'a'"), ("c", "d", "x")]))
    assert error is not None
    assert "failed: [Errno 5] Input/output error: 'a'" in str(error)


@pytest.mark.parametrize("call", ["chmod", "fchmod"])
def test_a_file_system_without_modes_is_worked_on_and_another_error_is_told(tmp_path, monkeypatch, call):
    """Otherwise files with another user's umask would stay unreadable to others."""
    (tmp_path / "file").write_text("")
    with (tmp_path / "file").open() as f:
        place = {"chmod": tmp_path / "file", "fchmod": f.fileno()}[call]
        disk.chmod(place, 0o644)
        for code, raises in [(errno.ENOTSUP, False), (errno.EPERM, False), (errno.EIO, True)]:

            def refuse(*args, code=code, **kwargs):
                raise OSError(code, os.strerror(code))

            monkeypatch.setattr(os, call, refuse)
            with pytest.raises(OSError, match="nput") if raises else contextlib.nullcontext():
                disk.chmod(place, 0o600)


@pytest.mark.parametrize("shares", [True, False])
def test_a_copy_shares_blocks_where_the_file_system_can(shares, tmp_path, monkeypatch):
    def ioctl(new, request, original):
        if not shares:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        new.write(b"by " + os.pread(original, 9, 0))

    monkeypatch.setattr(disk.sys, "platform", "linux")
    monkeypatch.setattr(disk.fcntl, "ioctl", ioctl)
    (tmp_path / "source").write_bytes(b"sharing")
    disk.copy(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == (b"by sharing" if shares else b"sharing")


def test_a_copy_is_independent(tmp_path):
    (tmp_path / "source").write_bytes(b"content")
    disk.copy(tmp_path / "source", tmp_path / "target")
    (tmp_path / "target").write_bytes(b"changed")
    assert (tmp_path / "source").read_bytes() == b"content"
    with pytest.raises(FileNotFoundError):
        disk.copy(tmp_path / "absent", tmp_path / "target")
