"""A file system that fails at any one operation: a run ends in words of ours or well, and the next one is right."""

import errno
import fcntl
import io
import os

import pytest

from pipeline.errors import DrydockError
from pipeline.running import delivery
from tests.pipeline.conftest import STORED, digests, without_record

OPERATIONS = [
    *(
        (os, name)
        for name in ("open", "mkdir", "rename", "replace", "link", "unlink", "rmdir", "chmod", "stat", "lstat")
    ),
    *((os, name) for name in ("listdir", "scandir", "fsync", "fstat")),
    (fcntl, "flock"),
    (io, "open"),
]
CODES = [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENOLCK, errno.ENOTSUP, errno.EROFS, errno.EPERM, errno.ENOENT]


class Faults:
    """Counts the operations below a folder, and has one of them fail, or all from one on."""

    def __init__(self, patch, root, code=0, at=-1, sticky=False):
        self.root, self.code, self.at, self.sticky, self.count = str(root), code, at, sticky, 0
        for module, name in OPERATIONS:
            patch.setattr(module, name, self.failing(getattr(module, name), is_flock=name == "flock"))

    def failing(self, real, *, is_flock):
        def call(path, *args, **kwargs):
            if (is_flock and args[0] & fcntl.LOCK_EX) or str(path).startswith(self.root):
                self.count += 1
                if self.count == self.at or (self.sticky and self.count > self.at >= 0):
                    raise OSError(self.code, os.strerror(self.code), None if is_flock else str(path))
            return real(path, *args, **kwargs)

        return call


@pytest.fixture
def right(dock):
    """The result of a run without a fault, and its number of operations."""
    with pytest.MonkeyPatch.context() as patch:
        faults = Faults(patch, dock.home)
        result = dock.run()
    return {n: d for n, d in digests(result).items() if n in STORED}, faults.count


def end_of(dock):
    """The error that a run reports; empty if it succeeds."""
    try:
        dock.run()
    except DrydockError as e:
        return e.problems
    return ()


def struck(dock, home, right, code, at, sticky):
    dock.home, dock.output, dock.log = home, home / "out", home / "log"
    for name in dock.stages:
        dock.change(name, log=dock.log)
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        Faults(patch, home, code, at, sticky)
        problems = end_of(dock)
    # A file that is not there is, to the runner, one that the stage never wrote.
    assert all(p.command or "but wrote no" in p.what for p in problems), problems
    assert not any("theirs alone" in p.what for p in problems), problems  # no fault is about an owner
    delivery.check(dock.output)  # as every run begins
    result = dock.run()
    assert {n: d for n, d in digests(result).items() if n in STORED} == right
    assert without_record(result.delivered)
    assert list(home.glob(".*")) == []
    dock.assert_sound()


@pytest.mark.parametrize("sticky", [False, True])
def test_a_fault_in_any_operation_is_told_in_words_and_the_next_run_is_right(dock, right, tmp_path, sticky):
    expected, operations = right
    for n, at in enumerate(range(1, operations, 37)):
        struck(dock, tmp_path / f"{n}", expected, CODES[n % len(CODES)], at, sticky)


@pytest.mark.slow
@pytest.mark.parametrize("sticky", [False, True])
@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_every_fault_in_every_operation(dock, right, tmp_path, code, sticky):
    expected, operations = right
    for at in range(1, operations):
        struck(dock, tmp_path / f"{at}", expected, code, at, sticky)
