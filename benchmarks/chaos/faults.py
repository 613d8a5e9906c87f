"""Faults in a process's own file operations: those below a folder are counted, and at one of them something goes wrong.

Nothing of ours is imported here: by the command line it is armed before anything else runs.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import io
import mmap
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

KILLS = ("kill-before", "kill-after", "kill-half")  # of a write, half is written; of all else it is "after"
CODES = (
    "EIO", "ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "ESTALE", "EMFILE", "ENOLCK", "EINTR", "ENOTSUP", "ENOENT",
    "ENAMETOOLONG",
)  # fmt: skip
LASTING = "-on"  # from there on, every operation fails
# Python asks again after EINTR, so one that lasts is none that a program sees.
ERRORS = tuple(f"{code}{how}" for code in CODES for how in ("", LASTING) if f"{code}{how}" != f"EINTR{LASTING}")

# By their first argument, a path or a descriptor; those with two paths; and those that write bytes.
ONE = (
    "open", "mkdir", "rmdir", "unlink", "remove", "chmod", "fchmod", "chown", "utime", "stat", "lstat", "fstat",
    "listdir", "scandir", "fsync", "statvfs", "truncate", "ftruncate", "write", "sendfile",
)  # fmt: skip
GONE = ("rmdir", "unlink", "remove")
TWO = ("rename", "replace", "link", "symlink")
_readlink, _getcwd, _kill, _getpid = os.readlink, os.getcwd, os.kill, os.getpid


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and at which operation.

    Args:
        how: One of KILLS or of ERRORS; empty to count alone.
        at: The number of the operation, from 1.
    """

    how: str = ""
    at: int = 0

    @property
    def kills(self) -> bool:
        return self.how in KILLS

    @property
    def has_no_modes(self) -> bool:
        """Whether it is what a file system without modes answers."""
        return self.how.removesuffix(LASTING) in ("EPERM", "ENOTSUP")

    @property
    def harms(self) -> bool:
        """Whether a file that it strikes counts as damaged: it is set aside, and built again."""
        return self.how.removesuffix(LASTING) in ("EIO", "EACCES", "EPERM", "ENOENT", "ENAMETOOLONG")


class Injector:
    """Has the file operations of this process below a folder counted, and one of them go wrong.

    Args:
        root: The folder.
        fault: What goes wrong.
        counter: A file that is told how many operations there were so far; for a process that ends at any moment.
    """

    def __init__(self, root: Path, fault: Fault, counter: Path | None = None) -> None:
        self.root, self.fault = os.fspath(root), fault
        self.count = 0
        self._lock = threading.RLock()
        self._counter = _shared(counter) if counter else None

    def arm(self) -> None:
        """Puts wrappers in the place of the operations; for the life of this process."""
        for name in ONE:
            setattr(os, name, self._wrapped(name, getattr(os, name), paths=1))
        for name in TWO:
            setattr(os, name, self._wrapped(name, getattr(os, name), paths=2))
        fcntl.flock = self._wrapped("flock", fcntl.flock, paths=1)
        builtins.open = io.open = self._opening(io.open)  # type: ignore[assignment]

    def call(self, name: str, place: str, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """One operation, which may go wrong."""
        with self._lock:
            self.count += 1
            count = self.count
            if self._counter is not None:
                self._counter[:8] = count.to_bytes(8, "little")
        fault = self.fault
        if count != fault.at and not (fault.how.endswith(LASTING) and count > fault.at):
            return real(*args, **kwargs)
        if not fault.how:
            return real(*args, **kwargs)
        if fault.how == "kill-before":
            _die()
        if fault.kills:
            if name == "write" and fault.how == "kill-half":
                *others, data = args
                real(*others, bytes(data)[: len(data) // 2])
            else:
                real(*args, **kwargs)
            _die()
        code = getattr(errno, fault.how.removesuffix(LASTING))
        if code == errno.ENOENT and name in GONE:  # said of what is there, it is the second answer: NFS lost the first
            real(*args, **kwargs)
        raise OSError(code, os.strerror(code), *([place] if args and not isinstance(args[0], int) else []))

    def below(self, place: str) -> bool:
        """Whether a path is the folder or in it."""
        return place == self.root or place.startswith(f"{self.root}/")

    def _wrapped(self, name: str, real: Callable[..., Any], *, paths: int) -> Callable[..., Any]:
        def operation(*args: Any, **kwargs: Any) -> Any:
            targets = args[:paths] or (".",)
            places = [_place(t, kwargs.get("dir_fd")) for t in targets]
            struck = next((p for p in places if self.below(p)), None)
            return real(*args, **kwargs) if struck is None else self.call(name, struck, real, *args, **kwargs)

        for functions in (os.supports_fd, os.supports_dir_fd, os.supports_follow_symlinks):
            if real in functions:
                functions.add(operation)
        return operation

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(
            file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None, errors: str | None = None,
            newline: str | None = None, closefd: bool = True, opener: Any = None,
        ) -> Any:  # fmt: skip
            place = _place(file, None)
            if not self.below(place):
                return real(file, mode, buffering, encoding, errors, newline, closefd, opener)
            bare = mode.replace("b", "").replace("t", "") or "r"
            arguments = (file, bare, closefd, opener)
            of = self if isinstance(file, int) else None  # what has a descriptor is open already
            raw = _Raw(self, place, *arguments) if of else self.call("open", place, _raw(self, place), *arguments)
            if buffering == 0:
                return raw
            random, writing = "+" in bare, bare[0] != "r"
            buffered = (
                io.BufferedRandom(raw) if random else io.BufferedWriter(raw) if writing else io.BufferedReader(raw)
            )
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline, buffering == 1)

        return opened


def _raw(injector: Injector, place: str) -> Callable[..., _Raw]:
    return lambda *arguments: _Raw(injector, place, *arguments)


class _Raw(io.FileIO):
    """An open file whose reads and writes are operations, too."""

    def __init__(self, injector: Injector, place: str, *arguments: Any) -> None:
        self._injector, self._place = injector, place
        super().__init__(*arguments)

    def write(self, data: Any) -> Any:
        return self._injector.call("write", self._place, super().write, data)

    def readinto(self, into: Any) -> Any:
        return self._injector.call("read", self._place, super().readinto, into)

    def readall(self) -> Any:
        return self._injector.call("read", self._place, super().readall)


def _place(target: Any, dir_fd: int | None) -> str:
    """Where a path or a descriptor leads to; empty for what is no file."""
    if isinstance(target, int):
        try:
            return _readlink(f"/proc/self/fd/{target}")
        except OSError:
            return ""
    try:
        path = os.fsdecode(target)
    except TypeError:
        return ""
    if path.startswith("/"):
        return path
    try:
        return f"{_place(dir_fd, None) if dir_fd is not None else _getcwd()}/{path}"
    except OSError:
        return ""


def _shared(path: Path) -> mmap.mmap:
    with path.open("ab+") as f:
        f.truncate(8)  # never shorter for a moment: a process that has it mapped already would end by SIGBUS
        return mmap.mmap(f.fileno(), 8)


def _die() -> NoReturn:
    _kill(_getpid(), signal.SIGKILL)
    raise SystemExit  # it never comes to this
