"""Action entries: which key gave which content, with the whole key document so that a miss can be explained."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline import disk
from pipeline.notes import Notes
from pipeline.store.files import dump, hidden, read_json, sync


@dataclass(frozen=True)
class Entry:
    """One success. A failure is never written.

    Args:
        key: The stage's key.
        key_document: What the key is the digest of.
        digest: The content digest of the result; the key itself for one that was kept in memory.
        kind: The kind of the result.
        notes: What the stage told of its run, parity figures for instance.
        seconds: How long the run took.
        sources: The files of ours that made it, each with the digest of what it does; to say why a later key differs.
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
    """The entries under `root`, one folder per stage."""

    def __init__(self, root: Path) -> None:
        self._root = root / "actions"

    def find(self, stage: str, key: str) -> Entry | None:
        """The entry of a key, or None; an entry that does not parse or names another key counts as none."""
        return _parse(read_json(self._path(stage, key)), key)

    def add(self, entry: Entry, *, replacing: str | None = None) -> Entry:
        """Records a success; the first writer wins, and the entry that stands is returned.

        Args:
            entry: The success.
            replacing: A content digest that is no longer to be had; an entry naming it gives way.

        Raises OSError.
        """
        path = self._path(entry.key_document["stage"], entry.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with hidden(path) as beside:
            dump(beside, asdict(entry), durable=True)
            try:
                won = disk.link(beside, path)
            except FileExistsError:
                won = False
            if not won:
                first = self.find(entry.key_document["stage"], entry.key)
                if first is not None and first.digest not in (replacing, entry.digest):
                    return first
                beside.replace(path)
        sync(path.parent)
        return entry

    def of_stage(self, stage: str, newest: int) -> Iterator[Entry]:
        """Up to `newest` entries of a stage, the latest first."""
        folder = self._root / stage
        paths = sorted(folder.glob("[0-9a-f]*.json"), key=_written, reverse=True)
        for path in paths[:newest]:
            if entry := _parse(read_json(path), path.stem):
                yield entry

    def _path(self, stage: str, key: str) -> Path:
        return self._root / stage / f"{key}.json"


def _written(path: Path) -> float:
    """When a file was written; long ago for one that is gone by now."""
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _parse(read: Any, key: str) -> Entry | None:
    """What was read, if it is an entry of ours: others may write to a shared store, and a digest becomes a path."""
    if not isinstance(read, dict) or read.get("key") != key:
        return None
    values: dict[str, Any] = {name: read.get(name) for name in TYPES}
    if not all(isinstance(values[name], kind) for name, kind in TYPES.items()):
        return None
    sources = read.get("sources")
    known = sources if isinstance(sources, dict) else {}
    return Entry(**values, sources=known) if re.fullmatch("[0-9a-f]{64}", read["digest"]) else None
