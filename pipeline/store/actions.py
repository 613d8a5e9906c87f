"""Action entries: which key gave which content, with the whole key document so that a miss can be explained."""

from __future__ import annotations

import contextlib
import heapq
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline import disk
from pipeline.notes import Notes
from pipeline.store.files import dump, hidden, read_owned, sync
from pipeline.store.owners import Trust
from pipeline.store.root import Root


@dataclass(frozen=True)
class Entry:
    """One success. A failure is never written.

    Args:
        key: The stage's key.
        key_document: What the key is the digest of.
        digest: The content digest of the result; the key itself for one that was kept in memory.
        kind: The kind of the result.
        notes: What the stage said of its run, such as parity figures.
        seconds: How long the run took.
        sources: Our source files that built it, each with the digest of its code. They explain why a later key differs.
    """

    key: str
    key_document: Mapping[str, Any]
    digest: str
    kind: str
    notes: Notes
    seconds: float
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def in_memory(self) -> bool:
        """Whether the result was not stored: its key stands for its content."""
        return self.digest == self.key


TYPES: Mapping[str, Any] = {
    "key": str,
    "key_document": dict,
    "digest": str,
    "kind": str,
    "notes": dict,
    "seconds": (int, float),
}


class Actions:
    """The entries under `root`, one folder per stage.

    Args:
        root: The store's folder.
        trust: Whose entries count.
        below: The entries of the store below, which is searched where this one has no entry.
    """

    def __init__(self, root: Path, trust: Trust | None = None, below: Actions | None = None) -> None:
        self._root = Root(root)
        self._trust = trust or Trust()
        self._below = below

    def find(self, stage: str, key: str) -> Entry | None:
        """The entry of a key, or None. One that does not parse, names another key or is not trusted is ignored."""
        found = self._trust.choose(self._path(stage, key), lambda path: self._look(path, key))
        if found is None and self._below is not None:
            found = self._below.find(stage, key)
        if found is not None:
            self._trust.passed_over.pop(key, None)
        return found

    def add(self, entry: Entry, *, replacing: str | None = None) -> Entry:
        """Records a success; the first trusted writer wins, and the entry that stands is returned.

        Args:
            entry: The success.
            replacing: The digest of a content that is gone; an entry with this digest is replaced.

        Raises OSError.
        """
        plain = self._path(entry.key_document["stage"], entry.key)
        self._root.folder(plain.parent)
        mode = self._root.mode(0o644)
        with hidden(plain, mode) as beside:
            dump(beside, asdict(entry), durable=True, mode=mode)
            for path in (plain, self._trust.own(plain)):
                first = self._give_name(beside, path, entry, replacing, anybody=path == plain)
                if first is not None:
                    break
        sync(plain.parent)
        return first or entry

    def _give_name(
        self, beside: Path, path: Path, entry: Entry, replacing: str | None, *, anybody: bool
    ) -> Entry | None:
        """Puts an entry in its place. Returns the entry that is there then; None where it belongs to another user."""
        try:
            if disk.link(beside, path):
                return entry
        except FileExistsError:
            pass
        if os.path.lexists(path):  # otherwise the file system has no links
            first, at = self._look(path, entry.key) or (None, path.lstat())
            if first is not None and self._trust.covers(at) and first.digest not in (replacing, entry.digest):
                return first
            if anybody and at.st_uid != self._trust.uid:
                return None
        beside.replace(path)
        return entry

    def is_own(self, stage: str, key: str) -> bool:
        """Whether an entry of a key is this user's own, and in this store."""
        plain = self._path(stage, key)
        looks = (self._look(path, key) for path in (plain, self._trust.own(plain)))
        return any(
            look is not None and look[1].st_uid == self._trust.uid and self._trust.covers(look[1]) for look in looks
        )

    def read(self, stage: str, key: str) -> bytes:
        """The file of a key's entry, this user's where another user has the plain name. Raises OSError."""
        plain = self._path(stage, key)
        own = self._trust.own(plain)
        return (own if os.path.lexists(own) else plain).read_bytes()

    def has(self, stage: str) -> bool:
        """Whether there are entries of a stage at all."""
        return (self._root.path / "actions" / stage).is_dir() or (self._below is not None and self._below.has(stage))

    def of_stage(self, stage: str, newest: int) -> Iterator[Entry]:
        """Up to `newest` trusted entries of a stage, the latest first."""
        folder = self._root.path / "actions" / stage
        for name in _newest(folder, newest):
            path = folder / name
            entry, at = self._look(path, path.name.partition(".")[0]) or (None, None)
            if entry is not None and at is not None and self._trust.covers(at):
                yield entry
        if self._below is not None:
            yield from self._below.of_stage(stage, newest)

    def _look(self, path: Path, key: str) -> tuple[Entry, os.stat_result] | None:
        """The entry in a file, and the file's stat. Notes an entry whose owner is not trusted."""
        read, at = read_owned(path)
        entry = parse(read, key)
        if entry is None or at is None:
            return None
        if not self._trust.covers(at):
            self._trust.passed_over[key] = at.st_uid
        return entry, at

    def _path(self, stage: str, key: str) -> Path:
        return self._root.path / "actions" / stage / f"{key}.json"


def _newest(folder: Path, most: int) -> list[str]:
    """The names of the entries that were written last, the latest first. It is fast: there may be many thousands."""
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name[0] in "0123456789abcdef" and entry.name.endswith(".json"):
                with contextlib.suppress(OSError):  # gone by now
                    found.append((entry.stat(follow_symlinks=False).st_mtime, entry.name))
    return [name for _, name in heapq.nlargest(most, found)]


def parse(read: Any, key: str) -> Entry | None:
    """The entry in a document, if it is one. Others may write to a shared store, and a digest becomes a path."""
    if not isinstance(read, dict) or read.get("key") != key:
        return None
    values: dict[str, Any] = {name: read.get(name) for name in TYPES}
    if not all(isinstance(values[name], kind) for name, kind in TYPES.items()):
        return None
    sources = read.get("sources")
    known = sources if isinstance(sources, dict) else {}
    return Entry(**values, sources=known) if re.fullmatch("[0-9a-f]{64}", read["digest"]) else None
