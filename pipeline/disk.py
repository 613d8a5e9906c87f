"""Errors of the operating system, in words: the one place that turns an OSError into an error of ours.

Code that knows what it touches does so within `explained`; any other OSError is reported by its file's name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shlex
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline import units
from pipeline.errors import ConfigError, DrydockError, Stopped

AGAIN = "run the same command again: finished stages are kept"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
# Errors whose reason is the path itself.
MISPLACED = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP}
)
# Errors whose reason is a file that cannot be read; all others say nothing about the file.
HARMED = frozenset({errno.EIO, errno.EACCES, errno.EPERM, errno.ENXIO, *MISPLACED}) | {
    getattr(errno, name) for name in ("EUCLEAN", "EBADMSG", "EFTYPE") if hasattr(errno, name)
}
# Errors of a file system that has no locks, links, modes or flushing to disk.
NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
NO_MODES = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
FICLONE = 0x40049409  # of linux/fs.h
ADVICE = {
    errno.EMFILE: f"`ulimit -n 4096` in this shell, and {AGAIN}",
    errno.ENFILE: f"end other programs, which hold too many files open, and {AGAIN}",
    errno.EFBIG: f"`ulimit -f unlimited` in this shell, and {AGAIN}",
    errno.ESTALE: AGAIN,
    errno.EINTR: AGAIN,
}
SPECIAL = {
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


@contextlib.contextmanager
def explained(what: str, command: str, folder: Path) -> Iterator[None]:
    """Raises an OSError in the block as an error of ours.

    Args:
        what: The place, such as "store=/data/store".
        command: The option that sets another place.
        folder: Where it is.
    """
    try:
        yield
    except OSError as e:
        raise as_error(e, what, command, folder) from e


def as_error(error: OSError, what: str, command: str, folder: Path) -> DrydockError:
    """The error of ours for one of the operating system's; see `explained`.

    A place that cannot be written is a ConfigError, since the user can name another. Any other error is a Stopped: the
    place is right, and failed while it was used.
    """
    why = error.strerror or _first(error)
    where = f" at {error.filename}" if error.filename and str(error.filename) != str(folder) else ""
    if error.errno in FULL:
        return Stopped(f"no space left for {what}: {room(folder)}", command=f"free some space and {AGAIN}")
    if error.errno in DENIED | MISPLACED:
        allowed = "a folder that this user can write"
        return ConfigError(f"{what} cannot be written: {why}{where}", allowed=allowed, command=command)
    return Stopped(f"{what} failed: {why}{where}", command=ADVICE.get(error.errno or 0, f"{command}, or {AGAIN}"))


def _first(error: OSError) -> str:
    """What went wrong, without an errno; for a copied tree, the first file's error."""
    failed = error.args[0] if isinstance(error, shutil.Error) and error.args else None
    return str(failed[0][2]) if failed and isinstance(failed, list) else str(error)


def of_unknown(error: BaseException) -> DrydockError | None:
    """The error for an OSError outside `explained`, where it is about a file; None for anything else."""
    if not isinstance(error, OSError) or isinstance(error, ConnectionError):
        return None
    if error.errno is None and not isinstance(error, shutil.Error):
        return None
    place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else Path(os.curdir)
    shows = f"ls -ld {shlex.quote(str(place))} shows what is there"
    if error.errno in DENIED | MISPLACED:
        return ConfigError(f"{place}: {error.strerror}", command=shows)
    return as_error(error, str(place), shows, place)


def link(source: Path, target: Path) -> bool:
    """Gives a file another name; False where the file system has no links, or none for this file. Raises OSError."""
    try:
        os.link(source, target)
    except OSError as e:
        if e.errno not in NO_LINKS:
            raise
        return False
    return True


def copy(source: Path, target: Path) -> None:
    """Copies a file's content. Where the file system can, as btrfs and XFS, both share its blocks until one is changed.

    Raises OSError.

    Source: https://man7.org/linux/man-pages/man2/ioctl_ficlone.2.html
    """
    with source.open("rb") as original, target.open("wb") as new, contextlib.suppress(OSError):
        if sys.platform == "linux":
            fcntl.ioctl(new, FICLONE, original.fileno())
            return
    shutil.copyfile(source, target)


def chmod(path: Path | int, mode: int) -> None:
    """Sets the mode of a file or folder, or of an open file, where the file system has modes. Raises OSError."""
    try:
        os.fchmod(path, mode) if isinstance(path, int) else path.chmod(mode)
    except OSError as e:
        if e.errno not in NO_MODES:
            raise


def room(folder: Path) -> str:
    """How much space is free where a folder is: bytes, or that there is none for another file."""
    try:
        there = next(p for p in (folder, *folder.parents) if p.exists())
        free, stats = shutil.disk_usage(there).free, os.statvfs(there)
    except (OSError, StopIteration):
        return f"how much is free at {folder.absolute()} is unknown"
    if stats.f_files and not stats.f_favail:
        return f"{units.size(free)} are free, and its file system takes no more files (inodes)"
    return f"{units.size(free)} free"


def special(path: Path) -> str:
    """The kind of a path that has no content of its own: a named pipe, a socket, a device; empty for all else."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""
    return next((name for is_one, name in SPECIAL.items() if is_one(mode)), "")
