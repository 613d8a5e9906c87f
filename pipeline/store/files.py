"""Files that appear whole or not at all, and digests of files and folders."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pipeline import disk

# A manifest or an entry is a few kilobytes; anything beyond this is not ours, and reading it could exhaust memory.
LARGEST_JSON = 16 * 1024 * 1024
# The name of a file or a folder that will replace another.
HIDDEN = re.compile(r"\..+\.[0-9a-f]{8}")


@dataclass(frozen=True)
class FileRecord:
    """One file of an artifact: its path relative to the folder, size in bytes and SHA-256."""

    path: str
    size: int
    sha256: str


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, 64 hex digits. Raises OSError."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def walk(folder: Path, *, shared: Collection[int] | None = ()) -> Iterator[Path]:
    """Every regular file under a folder, in the order of their relative paths.

    Args:
        folder: Where to look.
        shared: Inodes of the files that may have a second hard link elsewhere; None allows it for all.

    Raises:
        ValueError: For any other link or a special file: these could be changed from outside the folder.
        OSError: For a folder that cannot be listed.
    """
    found = [Path(at, name) for at, *names in os.walk(folder, onerror=_raise) for name in itertools.chain(*names)]
    for path in sorted(found, key=lambda p: p.relative_to(folder).as_posix()):
        mode = path.lstat()
        if stat.S_ISDIR(mode.st_mode):
            continue
        linked = mode.st_nlink > 1 and shared is not None and mode.st_ino not in shared
        if not stat.S_ISREG(mode.st_mode) or linked:
            raise ValueError(f"{path} is not a plain file (a link or a special file)")
        yield path


def _raise(error: OSError) -> NoReturn:
    raise error  # glob and os.walk would go on without the files of that folder


def records(folder: Path, *, shared: Mapping[int, str] | None) -> list[FileRecord]:
    """A record of every file under a folder.

    Args:
        folder: Where to look.
        shared: SHA-256 by inode, of the files that may have a second hard link elsewhere. All others are hashed now.
            None allows second links for all.

    Raises OSError, ValueError.
    """
    found = []
    for path in walk(folder, shared=shared):
        at = path.lstat()
        digest = (shared or {}).get(at.st_ino) or sha256(path)
        found.append(FileRecord(path.relative_to(folder).as_posix(), at.st_size, digest))
    return found


def tree_digest(files: list[FileRecord]) -> str:
    """The digest of a folder's content: SHA-256 over the names, sizes and digests of its files."""
    listed = json.dumps([[r.path, r.size, r.sha256] for r in sorted(files, key=lambda r: r.path)])
    return hashlib.sha256(listed.encode()).hexdigest()


def stamp(path: Path) -> list[int]:
    """What changes when a file is written: size, mtime, inode, ctime. ctime cannot be set back by a user."""
    s = path.lstat()
    return [s.st_size, s.st_mtime_ns, s.st_ino, s.st_ctime_ns]


def differ_by_links_alone(then: Any, now: list[int]) -> bool:
    """Whether two stamps differ in ctime alone, which a new hard link changes; `then` is read back from JSON."""
    return isinstance(then, list) and then != now and then[:3] == now[:3]


def read_json(path: Path) -> Any | None:
    """The content of a JSON file; None when it is absent, not a file, too large or not JSON."""
    return read_owned(path)[0]


def read_owned(path: Path) -> tuple[Any | None, os.stat_result | None]:
    """The content of a JSON file as `read_json` gives it, and the stat of the very file that was read."""
    try:
        with os.fdopen(
            os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb"
        ) as f:  # does not wait for a pipe's writer
            at = os.fstat(f.fileno())
            is_ours = stat.S_ISREG(at.st_mode) and at.st_size <= LARGEST_JSON
            return (json.loads(f.read()) if is_ours else None), at
    except (OSError, ValueError, RecursionError):
        return None, None


def write_json(
    path: Path, value: Any, *, durable: bool = False, ordered: bool = False, mode: int | None = None
) -> None:
    """Writes JSON so that a reader sees the old content or the new, never a part. Raises OSError.

    Args:
        path: Where to.
        value: What.
        durable: Whether it must survive a power loss.
        ordered: Whether mappings keep their order. In a configuration, the order may decide which argument is which.
        mode: The file's mode. Nobody else may write to it, even while it is written. None for what the umask says.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with hidden(path, mode) as beside:
        dump(beside, value, durable=durable, ordered=ordered, mode=mode)
        beside.replace(path)
    if durable:
        sync(path.parent)


def dump(path: Path, value: Any, *, durable: bool = False, ordered: bool = False, mode: int | None = None) -> None:
    """Writes JSON into a file that nobody reads yet; see `write_json`. Raises OSError."""
    with path.open("w") as f:
        json.dump(value, f, indent=1, sort_keys=not ordered)
        f.write("\n")
        if mode is not None:
            disk.chmod(f.fileno(), mode)
    if durable:
        sync(path)


@contextlib.contextmanager
def hidden(path: Path, mode: int | None = None) -> Iterator[Path]:
    """A hidden file beside `path`, which the caller moves to `path`; removed at the end.

    It is locked meanwhile: see `remove_dead`. With a `mode`, nobody else may write to it before it has that mode.
    """
    while True:
        beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        lock = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666 if mode is None else 0o600)
        try:
            with contextlib.suppress(OSError):  # where there are no locks, nobody removes it as a dead writer's
                fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock).st_nlink:  # otherwise another process removed it before it was locked
                yield beside
                return
        finally:
            if not remove(beside):
                remove(beside)  # this writer lives, so nobody else will look for it
            with contextlib.suppress(OSError):
                os.close(lock)


def remove(path: Path) -> bool:
    """Removes a file if that is possible, and returns whether it is gone.

    It raises nothing: a clean-up must not hide the error before it.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def remove_tree(folder: Path) -> None:
    """Removes a folder as far as possible. shutil.rmtree ignores most errors, not all."""
    with contextlib.suppress(OSError):
        shutil.rmtree(folder, ignore_errors=True)


def remove_dead(folder: Path) -> bool:
    """Removes hidden files whose writers died, and empty hidden folders: the kernel has freed their locks.

    Returns whether all of them are gone. A file of another user may stay until that user's next run.
    """
    try:
        names = os.listdir(folder)  # noqa: PTH208 (names alone: there may be many)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    gone = [_remove_if_dead(folder / name) for name in filter(HIDDEN.fullmatch, names)]
    return all(gone)


def _remove_if_dead(path: Path) -> bool:
    """Whether a hidden file is gone, or its writer lives. A living writer makes a removed folder again: see root.py."""
    try:
        if stat.S_ISDIR(path.lstat().st_mode):
            path.rmdir()
            return True
        lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def sync(path: Path) -> None:
    """Makes a file's content, or the renames in a folder, survive a power loss, where the disk can. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as e:
        if e.errno not in disk.NO_SYNC:
            raise
    finally:
        os.close(fd)
