"""What the dead left in a store: build folders, and files and folders that they had half made."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection
from pathlib import Path

from pipeline.store.files import remove, remove_dead, remove_tree
from pipeline.store.locks import Lock

# The locks that show that something is not finished, in a folder of their own: those of keys are as many as keys. And
# where files are written that a death leaves half done.
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
    """Removes what can be removed; a mark stays until all of it can, by another run or another user's.

    The marks are held meanwhile: one that is made just now is free for a moment too, and whoever makes it then waits
    for the lock, sees that its file is gone, and makes another.
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
        for other in (m for m in marks if m.startswith(f".{name}.")):  # the same file, which looks locked: by us
            gone = remove(root / MARKS / other) and gone
    for name in _names(staging := root / "staging"):
        if not (root / MARKS / f"staging-{name}.lock").exists():  # whoever builds there has marked it first
            remove_tree(staging / name)
            remove(staging / name)  # what is no folder
    if died or any(name.startswith(".") for name in marks):  # of one that died before it had its own
        written = [root, *(p for place in WRITTEN for p in root.glob(place))]
        cleared = [remove_dead(folder) for folder in written]
        if all(cleared) and gone:
            for name in died:
                remove(root / MARKS / name)


def _takes(path: Path, locks: contextlib.ExitStack) -> bool:
    """Takes a lock whose holder has died; False where it lives."""
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
