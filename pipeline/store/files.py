"""Files that appear whole or not at all, and digests of files and folders."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A manifest or an entry is a few kilobytes; anything beyond this is not ours, and reading it could exhaust memory.
LARGEST_JSON = 16 * 1024 * 1024


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
        shared: Inodes of the files that may have another name elsewhere; None allows it for all.

    Raises:
        ValueError: For any other link or a special file: those could be changed from outside the folder.
    """
    for path in sorted(folder.rglob("*"), key=lambda p: p.relative_to(folder).as_posix()):
        mode = path.lstat()
        if stat.S_ISDIR(mode.st_mode):
            continue
        linked = mode.st_nlink > 1 and shared is not None and mode.st_ino not in shared
        if not stat.S_ISREG(mode.st_mode) or linked:
            raise ValueError(f"{path} is not a plain file (a link or a special file)")
        yield path


def records(folder: Path, *, shared: Mapping[int, str] | None) -> list[FileRecord]:
    """A record of every file under a folder.

    Args:
        folder: Where to look.
        shared: By inode, the files that may have another name elsewhere, with their SHA-256; all others are hashed
            now. None allows other names for all.

    Raises OSError, ValueError.
    """
    found = []
    for path in walk(folder, shared=shared):
        at = path.lstat()
        digest = (shared or {}).get(at.st_ino) or sha256(path)
        found.append(FileRecord(path.relative_to(folder).as_posix(), at.st_size, digest))
    return found


def tree_digest(files: list[FileRecord]) -> str:
    """What identifies a folder's content: SHA-256 over the names, sizes and digests of its files."""
    listed = json.dumps([[r.path, r.size, r.sha256] for r in sorted(files, key=lambda r: r.path)])
    return hashlib.sha256(listed.encode()).hexdigest()


def stamp(path: Path) -> list[int]:
    """What changes when a file is written: size, mtime, inode, ctime. ctime cannot be set back by a user."""
    s = path.lstat()
    return [s.st_size, s.st_mtime_ns, s.st_ino, s.st_ctime_ns]


def differ_by_links_alone(then: Any, now: list[int]) -> bool:
    """Whether a stamp is apart from an earlier one, as read back, by no more than making a link changes: ctime."""
    return isinstance(then, list) and then != now and then[:3] == now[:3]


def read_json(path: Path) -> Any | None:
    """The content of a JSON file; None when it is absent, too large or not JSON: all the same to a reader."""
    return read_owned(path)[0]


def read_owned(path: Path) -> tuple[Any | None, os.stat_result | None]:
    """The content of a JSON file as `read_json` gives it, and the stat of the very file that was read."""
    try:
        with path.open("rb") as f:
            at = os.fstat(f.fileno())
            return (json.loads(f.read()) if at.st_size <= LARGEST_JSON else None), at
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
        ordered: Whether mappings keep their order, which in a configuration may say which argument is which.
        mode: Who may read it, and nobody may write to it even while it is written; None for what the umask says.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(beside, "w", opener=lambda p, flags: os.open(p, flags, 0o666 if mode is None else 0o600)) as f:
            json.dump(value, f, indent=1, sort_keys=not ordered)
            f.write("\n")
            if mode is not None:
                os.fchmod(f.fileno(), mode)
            if durable:
                f.flush()
                os.fsync(f.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    if durable:
        sync(path.parent)


def sync(path: Path) -> None:
    """Makes a file's content, or the renames in a folder, survive a power loss. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
