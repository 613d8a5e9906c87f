"""Readers of torch's files, and an object whose pickle runs a command."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path
from typing import Any


def archived(path: Path) -> dict[str, bytes]:
    """The entries of a file that torch wrote, by their names in it."""
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def tells_where(path: Path) -> list[str]:
    """The entries of a file of torch's that contain a path of this machine."""
    folders = [str(place).encode() for place in (sys.prefix, sys.base_prefix, Path.cwd(), Path(__file__).parent)]
    return [name for name, record in archived(path).items() if any(folder in record for folder in folders)]


class Canary:
    """Its pickle makes a file when it is loaded by a reader that runs the calls of a pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)
