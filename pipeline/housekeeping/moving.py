"""Moves a store: each of this user's results by one rename, or it is copied, verified and then removed here.

    copy entries ──► move results, one at a time ──► remove the entries and notes here that nothing needs any more

At any moment each result is whole in one of the two places. After any interruption, the same command goes on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.housekeeping import pins
from pipeline.housekeeping.contents import Contents, Result
from pipeline.store import State, Store, actions, litter, mark, use
from pipeline.store.files import read_json, records, remove, remove_tree, tree_digest, walk
from pipeline.store.root import Root
from pipeline.store.store import FACTS

# Files that only save time or belong to the place. They are not moved; they are removed with the last result.
OF_THE_PLACE = ("seen", "used", "facts", "locks", "index", "pins", "runs", "marks", "staging")


@dataclass
class Moved:
    """How a move ended.

    Args:
        results: How many results are in the new place now.
        size: Their bytes.
        left: Results that stay, each with the reason.
        emptied: Whether the old place is empty.
    """

    results: int = 0
    size: int = 0
    left: list[tuple[Result, str]] = field(default_factory=list)
    emptied: bool = False


def move(store: Store, known: Contents, to: Store, progress: Callable[[int, int], None]) -> Moved:
    """Moves this user's results, entries and pins. The caller has the locks of both stores.

    Raises DrydockError where one of the two cannot be written.
    """
    me, done = os.geteuid(), Moved()
    mine = [r for r in known.results if r.owner == me]
    _copy_entries(store, known, to)
    with to.explained():
        for pin in pins.read(store.root):
            if pin.owner == me:
                pins.add(to.root, pin.of, pin.digests)
        _copy_notes(store.root / "runs", to.root / "runs", to.root)
    total = sum(r.size for r in mine)
    copied: dict[tuple[int, int], tuple[str, Path]] = {}
    for result in mine:
        if why := _move(store, known, result, to, copied):
            done.left.append((result, why))
        else:
            done.results, done.size = done.results + 1, done.size + result.size
            progress(done.size, total)
    done.left += [(r, "it is another user's") for r in known.results if r.owner != me]
    _clear(store, known, done)
    return done


def _copy_entries(store: Store, known: Contents, to: Store) -> None:
    for entry in known.entries:
        if entry.owner == os.geteuid():
            content = read_json(store.root / "actions" / entry.stage / entry.name)
            parsed = actions.parse(content, entry.name.partition(".")[0])
            if parsed is not None and parsed.key_document.get("stage") == entry.stage:
                to.record(parsed)


def _copy_notes(source: Path, target: Path, root: Path) -> None:
    """Copies small files of this user's. Raises OSError."""
    for path in source.glob("[0-9a-f]*.json"):
        if path.lstat().st_uid == os.geteuid() and not (target / path.name).exists():
            Root(root).write(target / path.name, read_json(path))


def _move(
    store: Store, known: Contents, result: Result, to: Store, copied: dict[tuple[int, int], tuple[str, Path]]
) -> str:
    """Moves one result. Returns why it stays; None if it was moved."""
    folder = known.folder(result)
    with store.explained():
        try:
            with use.alone(folder / FACTS):
                if to.state(result.digest) is not State.PRESENT and not _take_in(folder, result, to, copied):
                    return "it is damaged: `python -m pipeline.store verify` sets it aside"
                if folder.is_dir():
                    with store.staging() as aside:
                        store.objects.withdraw(folder, aside / result.name)
        except FileNotFoundError:
            if to.state(result.digest) is not State.PRESENT:
                return "it is gone, or has lost a file"
        except use.InUse:
            return "a run uses it"
    _take_note(result, to)
    return ""


def _take_in(folder: Path, result: Result, to: Store, copied: dict[tuple[int, int], tuple[str, Path]]) -> bool:
    """Moves or copies one result into another store; False where its digest is not its name."""
    try:
        if folder.stat().st_dev == to.root.stat().st_dev:
            to.objects.take_in(folder)
            return True
    except OSError as e:
        if e.errno != errno.EXDEV:  # two mount points of one device
            raise
    return _copy(folder, result, to, copied)


def _copy(folder: Path, result: Result, to: Store, copied: dict[tuple[int, int], tuple[str, Path]]) -> bool:
    """Publishes a copy of a result in another store; False where its digest is not its name.

    Files that results share stay shared.
    """
    with to.staging() as staged, to.explained():
        sources = set()
        try:
            for path in walk(folder, shared=None):
                target, at = staged / path.relative_to(folder), path.lstat()
                target.parent.mkdir(parents=True, exist_ok=True)
                digest, there = copied.get((at.st_dev, at.st_ino), ("", path))
                if digest and there.exists() and to.state(digest) is State.PRESENT:
                    os.link(there, target)
                    sources.add(digest)
                else:
                    shutil.copyfile(path, target)
        except ValueError:
            return False
        if tree_digest(records(staged, shared=None)) != result.digest:
            return False
        to.objects.publish(staged, sources)
    for path in walk(folder, shared=None):
        if (at := path.lstat()).st_nlink > 1:
            there = to.objects.folder(result.digest) / path.relative_to(folder)
            copied[at.st_dev, at.st_ino] = (result.digest, there)
    return True


def _take_note(result: Result, to: Store) -> None:
    """Copies the note of when a result was last used, and for what."""
    with to.keeping():
        to.state(result.digest)
    for model, target in result.names:
        to.name([result.digest], model, target)
    with contextlib.suppress(OSError):
        os.utime(to.objects.folder(result.digest), (result.created, result.created))
        os.utime(to.root / use.PLACE / result.digest, (result.used, result.used), follow_symlinks=False)


def _clear(store: Store, known: Contents, done: Moved) -> None:
    """Removes entries whose result was moved, and the folder itself where nobody has anything left in it."""
    stay = {result.digest for result, _ in done.left}
    for entry in known.entries:
        if entry.owner == os.geteuid() and entry.digest not in stay:
            remove(store.root / "actions" / entry.stage / entry.name)
    if done.left:
        return
    for folder in sorted([*store.root.glob("objects/*"), *store.root.glob("actions/*")]):
        with contextlib.suppress(OSError):
            folder.rmdir()
    for name in ("objects", "actions"):
        with contextlib.suppress(OSError):
            (store.root / name).rmdir()
    store.sweep()
    kept = [store.root / name for name in ("objects", "actions", "quarantine")]
    done.emptied = not any(folder.exists() for folder in kept) and not any((store.root / litter.MARKS).iterdir())
    if done.emptied:
        for name in OF_THE_PLACE:
            remove_tree(store.root / name)
        remove(store.root / mark.FILE)
        with contextlib.suppress(OSError):  # others have put something into the folder
            store.root.rmdir()
