"""Removes what dead processes left in a store: build folders, and unfinished files and folders."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection
from pathlib import Path

from pipeline.store.files import remove, remove_dead, remove_tree
from pipeline.store.locks import Lock

# The folder of locks that mark unfinished work, apart from the locks of keys, which are many; and the folders where a
# process that dies may leave unfinished files.
MARKS = "marks"
MARK = re.compile(r"(staging|run)-[0-9a-f]{32}\.lock")
WRITTEN = (
    "actions",
    "actions/*",
    "objects",
    "objects/*",
    "seen",
    "runs",
    "facts",
    "facts/*",
    "remote",
    "remote/*",
    "remote/*/*",
    "remote/*/*/*",
    "locks",
    MARKS,
)


def sweep(root: Path) -> None:
    """Removes what it may remove. A mark stays until all its files are gone; another run, or its owner's, removes them.

    This process holds the marks' locks meanwhile. A new mark is free for a moment too: its maker then waits for the
    lock, sees that the file is gone, and makes another.
    """
    with contextlib.ExitStack() as locks:
        marks = _names(root / MARKS)
        died = [name for name in filter(MARK.fullmatch, marks) if _takes(root / MARKS / name, locks)]
        _clear(root, marks, died)


def _clear(root: Path, marks: Collection[str], died: Collection[str]) -> None:
    gone = True
    for name in died:
        what, _, folder = name.removesuffix(".lock").partition("-")
        if what == "staging":
            remove_tree(root / what / folder)
            gone = gone and not (root / what / folder).exists()
        for other in (
            m for m in marks if m.startswith(f".{name}.")
        ):  # a second name of the same file, which we have locked
            gone = remove(root / MARKS / other) and gone
    for name in _names(staging := root / "staging"):
        if not (root / MARKS / f"staging-{name}.lock").exists():  # a builder makes its mark before its folder
            remove_tree(staging / name)
            remove(staging / name)  # where it is not a folder
    if died or any(name.startswith(".") for name in marks):  # a process died before it had its own mark
        written = [root, *(p for place in WRITTEN for p in root.glob(place))]
        cleared = [remove_dead(folder) for folder in written]
        if all(cleared) and gone:
            for name in died:
                remove(root / MARKS / name)


def _takes(path: Path, locks: contextlib.ExitStack) -> bool:
    """Takes the lock of a process that has died; False where that process lives."""
    lock = Lock(path, path.name, contextlib.nullcontext)
    locks.callback(lock.release)
    try:
        return lock.try_acquire() and lock.is_locked
    except OSError:
        return False


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 (names alone: there may be many)
    except OSError:
        return []
