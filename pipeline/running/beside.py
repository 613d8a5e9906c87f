"""Hidden folders beside an output, `.NAME.xxxxxxxx`: a delivery under way, and with `.old` the one that it replaces.

The process that makes a folder locks it, by its inode, as long as it lives. So the next delivery can tell the folders
of dead processes from those of deliveries under way.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.store.files import HIDDEN, remove_tree

OLD = ".old"
TAKEN = (errno.EEXIST, errno.ENOTEMPTY)  # of a rename: another run came first
PROBE = re.compile(r"\.drydock-[0-9a-f]{8}")


@contextlib.contextmanager
def folder(output: Path) -> Iterator[Path]:
    """A new folder beside `output`, locked while it is there and gone afterwards. Raises OSError."""
    output.parent.mkdir(parents=True, exist_ok=True)
    while True:
        beside = output.parent / f".{output.name}.{uuid.uuid4().hex[:8]}"
        beside.mkdir()
        with _locked(beside, unlockable=True) as ours:
            if not ours:
                continue  # another delivery removed it before it was locked
            try:
                yield beside
            finally:
                remove_tree(beside)
        return


def swap(new: Path, output: Path) -> None:
    """Replaces an earlier folder by a complete one; between the two renames there is none, never a mixture.

    Deliveries to the same place wait for each other. Raises OSError.
    """
    while True:
        try:
            with _locked(output, wait=True, unlockable=True) as ours:
                if ours and _exchange(new, output):
                    return
        except FileNotFoundError:
            if not new.exists():
                raise
            try:
                new.rename(output)
            except OSError as e:
                if e.errno not in TAKEN:
                    raise
            else:
                return


def _exchange(new: Path, output: Path) -> bool:
    """Whether the folder was replaced; False where another run put its own there between the two renames."""
    old = new.with_name(f"{new.name}{OLD}")
    output.rename(old)
    try:
        new.rename(output)
    except OSError as e:
        if e.errno not in TAKEN:
            with contextlib.suppress(OSError):
                old.rename(output)
            raise
        return False
    finally:
        if output.exists():
            remove_tree(old)
    return True


def clear(folder: Path, whole: Callable[[Path], bool], name: str = "") -> None:
    """Removes what dead deliveries left in a folder; one that died between its two renames is undone.

    Args:
        folder: Their output folder.
        whole: Whether a folder is a complete delivery.
        name: The name of their output; empty for any.
    """
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir(), key=lambda p: not p.name.endswith(OLD)):
            if PROBE.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    path.rmdir()
            elif is_ours(path.name, name) and not path.is_symlink():
                _clear_if_dead(path, folder / _name(path.name), whole)


def is_ours(hidden: str, name: str = "") -> bool:
    """Whether a name is that of a hidden folder beside an output; beside any output when `name` is empty."""
    return bool(HIDDEN.fullmatch(hidden.removesuffix(OLD))) and name in ("", _name(hidden))


def _name(hidden: str) -> str:
    """The name of the output that a hidden folder lies beside."""
    return hidden.removesuffix(OLD)[1:-9]


def _clear_if_dead(path: Path, output: Path, whole: Callable[[Path], bool]) -> None:
    with contextlib.suppress(OSError), _locked(path) as ours:
        if not ours:
            return
        if path.name.endswith(OLD) and not output.exists() and whole(path):
            path.rename(output)
        else:
            remove_tree(path)


@contextlib.contextmanager
def _locked(path: Path, *, wait: bool = False, unlockable: bool = False) -> Iterator[bool]:
    """Holds the lock of a folder; yields whether we have it and the folder still has that name. Raises OSError.

    Args:
        path: The folder.
        wait: Whether to wait until its holder releases it.
        unlockable: The value to return where folders cannot be locked.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield _lock(fd, wait=wait, unlockable=unlockable) and _is_still(fd, path)
    finally:
        os.close(fd)


def _lock(fd: int, *, wait: bool, unlockable: bool) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return unlockable
    return True


def _is_still(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False
