"""Whether a store is whole: every file of every result is hashed, and every entry is read."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import DrydockError
from pipeline.housekeeping.contents import Contents, Listed, Result
from pipeline.planning.ways import SERVED
from pipeline.store import State, Store, use
from pipeline.store import key as keys
from pipeline.store.files import read_json, remove
from pipeline.store.store import FACTS

YOUNG_SECONDS = 3600.0


@dataclass
class Verified:
    """The result of a verification.

    Args:
        results: How many results were hashed.
        size: Their bytes.
        damaged: Results that differ from what was published, each with what was done about it.
        entries: How many entries were read.
        unreadable: Files that are no valid entry: torn, of another key, or of another place.
        useless: Entries whose result is gone and whose digest no other entry has as an input. They save no work.
        evicted: How many entries lead to a removed result and keep the results that were built from it hits.
        repaired: What was repaired, a sentence each.
    """

    results: int = 0
    size: int = 0
    damaged: list[tuple[str, str]] = field(default_factory=list)
    entries: int = 0
    unreadable: list[str] = field(default_factory=list)
    useless: list[str] = field(default_factory=list)
    evicted: int = 0
    repaired: list[str] = field(default_factory=list)


def verify(store: Store, known: Contents, *, repair: bool, progress: Callable[[int, int], None]) -> Verified:
    """Hashes every result of every user, and sets aside damaged ones where this user may.

    Args:
        store: The store.
        known: The content of the store.
        repair: Whether to remove unreadable and useless entries, and manifests of results that are gone.
        progress: Called with the number of bytes that were hashed, and of all bytes.

    Raises DrydockError for a store that cannot be read.
    """
    found = Verified()
    total = sum(result.size for result in known.results)
    for result in known.results:
        _hash(store, known, result, found)
        progress(found.size, total)
    _entries(store, known, found, repair=repair)
    if repair:
        _strays(store, found)
    return found


def _hash(store: Store, known: Contents, result: Result, found: Verified) -> None:
    folder = known.folder(result)
    lock = use.shared(folder / FACTS)  # nobody removes it meanwhile
    try:
        if not folder.is_dir():
            return
        manifest = folder.with_name(f"{folder.name}.json")
        had = manifest.is_file()
        with store.explained():
            state = store.objects.check(folder, thorough=True)
        if state is State.DAMAGED:
            became = "cannot be set aside" if folder.is_dir() else "set aside in quarantine/"
            found.damaged.append((result.name, became))
        elif not had and manifest.is_file():
            found.repaired.append(f"the manifest of {result.name[:12]} was lost, and was written again")
    except DrydockError as e:
        found.damaged.append((result.name, f"damaged or unreadable: {e.problems[0].what}"))
    finally:
        if lock is not None:
            os.close(lock)
    found.results += 1
    found.size += result.size


def _entries(store: Store, known: Contents, found: Verified, *, repair: bool) -> None:
    """Reads every entry again, and sorts out those that are unreadable or useless."""
    there = {p.name[:64] for p in (store.root / "objects").glob("*/*") if p.is_dir()}
    stands_on: dict[str, set[Listed]] = {}  # digest of an input: the entries that have it
    gone: list[tuple[Listed, list[str]]] = []
    for entry in known.entries:
        content: Any = read_json(store.root / "actions" / entry.stage / entry.name)
        if content is None and not (store.root / "actions" / entry.stage / entry.name).exists():
            continue
        found.entries += 1
        try:
            inputs = _inputs(entry, content)
        except (AttributeError, KeyError, TypeError, ValueError):
            found.unreadable.append(f"{entry.stage}/{entry.name}")
            _repair(_path(store, entry), repair, found, f"the unreadable entry {found.unreadable[-1]} is removed")
            continue
        for digest in inputs:
            stands_on.setdefault(digest, set()).add(entry)
        if not entry.in_memory and entry.digest not in there and entry.stage != SERVED:
            gone.append((entry, inputs))
    while useless := [(entry, inputs) for entry, inputs in gone if not stands_on.get(entry.digest)]:
        for entry, inputs in useless:
            gone.remove((entry, inputs))
            for digest in inputs:
                stands_on[digest].discard(entry)
            found.useless.append(f"{entry.stage}/{entry.name}")
            _repair(
                _path(store, entry), repair, found, f"the entry {found.useless[-1]}, whose result is gone, is removed"
            )
    found.evicted = len(gone)


def _inputs(entry: Listed, content: Any) -> list[str]:
    """The digests of a stage's inputs, by its entry. A file that is no entry raises any exception."""
    document, key = content["key_document"], entry.name.partition(".")[0]
    if content["key"] != key or keys.digest(document) != key or document["stage"] != entry.stage or not entry.digest:
        raise ValueError(key)
    return [str(digest) for digest in document.get("inputs", {}).values()]


def _path(store: Store, entry: Listed) -> Path:
    return store.root / "actions" / entry.stage / entry.name


def _strays(store: Store, found: Verified) -> None:
    """Removes manifests without a result, left by processes that died. The result of a new one may be on its way."""
    for path in (store.root / "objects").glob("*/*.json"):
        folder = path.with_name(path.name.removesuffix(".json"))
        with contextlib.suppress(OSError):
            if not folder.exists() and time.time() - path.lstat().st_mtime > YOUNG_SECONDS:
                _repair(path, True, found, f"the manifest {path.name[:12]}, which has no result, is removed")


def _repair(path: Path, repair: bool, found: Verified, says: str) -> None:
    if repair:
        with contextlib.suppress(OSError):
            if path.lstat().st_uid == os.geteuid() and remove(path):
                found.repaired.append(says)
