"""The folder of a store. Everything below it can be used by all who may use the folder, whatever the umask."""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.store.files import write_json


@dataclass(frozen=True)
class Root:
    """A store's folder.

    Folders get its group and its mode, setgid included, so that all who may write to it can publish. A file can be read
    by all who may read the root, and written by its owner alone: otherwise an entry's owner would prove nothing.
    """

    path: Path

    def folder(self, path: Path) -> Path:
        """Makes a folder below the root, and those above it, and returns it. Raises OSError."""
        if path.is_dir():
            return path
        if self.path not in path.parents:
            path.mkdir(parents=True, exist_ok=True)
            return path
        self.folder(path.parent)
        while not path.is_dir():
            self._make(path)
        return path

    def _make(self, path: Path) -> None:
        """Makes a folder under a hidden name first. A process that dies before the chmod thus shuts nobody out."""
        new = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        new.mkdir()
        try:
            expected, actual = self.path.stat(), new.stat()
            if actual.st_gid != expected.st_gid:
                with contextlib.suppress(PermissionError):  # this user is not in the group
                    os.chown(new, -1, expected.st_gid)
            if stat.S_IMODE(actual.st_mode) != stat.S_IMODE(expected.st_mode):
                new.chmod(stat.S_IMODE(expected.st_mode))
            new.rename(path)
        except OSError:
            if (
                new.exists() and not path.is_dir()
            ):  # otherwise another process removed it as a dead one's, or another run was first
                raise
        finally:
            with contextlib.suppress(OSError):
                new.rmdir()

    def write(self, path: Path, value: Any, *, durable: bool = False) -> None:
        """Writes JSON below the root, which a reader sees whole or not at all. Raises OSError."""
        self.folder(path.parent)
        write_json(path, value, durable=durable, mode=self.mode(0o644))

    def mode(self, most: int) -> int:
        """The bits of `most` that the root has too, and those that the owner needs."""
        return (self.path.stat().st_mode | stat.S_IRWXU) & most
