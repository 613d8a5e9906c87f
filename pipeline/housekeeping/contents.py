"""What a store holds: results with their sizes, names and last uses, the entries that lead to them, and the rest."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.housekeeping.index import Index
from pipeline.store import use
from pipeline.store.files import read_json
from pipeline.store.store import FACTS

FOLDER = re.compile(r"([0-9a-f]{64})(?:\.\d+)?")
ENTRY = re.compile(r"([0-9a-f]{64})(?:\.\d+)?\.json")
NEVER = (0.0, "")
# Folders of many files, which the index knows the bytes of; a note that grew since is a few bytes off.
MANY = ("seen", "used", "locks", "runs")
# What reading an index raises that something else has written.
MALFORMED = (AttributeError, IndexError, KeyError, TypeError, ValueError)
# Beside objects and actions, with what each holds.
OTHERS = {
    "quarantine": "damaged results, kept as evidence",
    "staging": "what runs are building",
    "seen": "when each file was last hashed",
    "used": "when each result was last used",
    "locks": "locks of keys",
    "marks": "locks of runs",
    "facts": "facts about this machine",
    "runs": "which runs are known",
    "pins": "pins",
    "index": "the index",
}


class Result(NamedTuple):
    """A stored result, one of those that may have the same content and different owners.

    Args:
        name: Of its folder: its digest, with the number of its owner where the plain name is another's.
        owner: The number of the user who made it.
        created: When, in seconds since the epoch.
        kind: The kind of artifact.
        source: Where its model came from, such as the factory; empty where it does not say.
        size: The bytes of its files, those included that it shares with other results by hard links.
        linked: Its files that had another name when it was read: the path in it and the inode of each.
        used: When it was last used, or made.
        note: The text of the note of its uses; see pipeline/store/use.py.
        stages: The stages that it is a result of.
    """

    name: str
    owner: int
    created: float
    kind: str
    source: str
    size: int
    linked: Sequence[tuple[str, int]]
    used: float
    note: str
    stages: Sequence[str]

    @property
    def digest(self) -> str:
        """Of its content."""
        return self.name[:64]

    @property
    def names(self) -> list[tuple[str, str]]:
        """The models that it was used for, each with its target."""
        return use.names_of(self.note)


class Listed(NamedTuple):
    """An action entry.

    Args:
        stage: The stage.
        name: Of its file.
        owner: The number of the user who wrote it.
        written: When, in seconds since the epoch.
        size: Its bytes.
        digest: What it leads to; empty where it cannot be read.
        in_memory: Whether its result was never stored.
    """

    stage: str
    name: str
    owner: int
    written: float
    size: int
    digest: str
    in_memory: bool


@dataclass(frozen=True)
class Contents:
    """What a store holds.

    Args:
        root: The store's folder.
        results: Its results.
        entries: Its action entries.
        used: By digest, when something was last used, and the text of the note that says so.
    """

    root: Path
    results: list[Result]
    entries: list[Listed]
    used: Mapping[str, tuple[float, str]] = field(repr=False)

    def folder(self, result: Result) -> Path:
        """Where a result is."""
        return self.root / "objects" / result.name[:2] / result.name

    def last_use(self, entry: Listed) -> float:
        """When an entry was last of use, in seconds since the epoch."""
        return max(entry.written, self.used.get(entry.digest, NEVER)[0])

    def size(self, results: Iterable[Result]) -> int:
        """The bytes that results take together on the disk: a file that several share is one."""
        total, seen = 0, set()
        for result in results:
            total += result.size
            for path, _ in result.linked:
                with contextlib.suppress(FileNotFoundError):
                    at = (self.folder(result) / path).lstat()
                    if at.st_ino not in seen:
                        total -= (at.st_nlink - 1) * at.st_size
                        seen.add(at.st_ino)
        return total


def read(root: Path, index: Index, *, entries: bool = True) -> Contents:
    """What a store holds.

    Args:
        root: The store's folder.
        index: What is known of it already.
        entries: Whether entries are read; without, results have no stages.

    Raises OSError where the store cannot be read.
    """
    try:
        return _read(root, index, entries=entries)
    except MALFORMED:
        return _read(root, Index(root, ignored=True), entries=entries)


def _read(root: Path, index: Index, *, entries: bool) -> Contents:
    listed: list[Listed] = []
    stages: dict[str, tuple[str, ...]] = {}
    for folder in _folders(root / "actions") if entries else ():
        stage = folder.name
        of_stage = [Listed(stage, *row) for row in index.rows(folder, _entries)]
        listed += of_stage
        for digest in {entry.digest for entry in of_stage}:
            stages[digest] = (*stages[digest], stage) if digest in stages else (stage,)
    used = _used(root, index)
    results: list[Result] = []
    for folder in _folders(root / "objects"):
        for row in index.rows(folder, _objects):
            digest, created = row[0][:64], row[2]
            when, note = used.get(digest, NEVER)
            last = when if when > created else created  # `max` takes three times as long, 100,000 times
            results.append(Result._make((*row, last, note, stages.get(digest, ()))))
    return Contents(root, results, listed, used)


def other_sizes(root: Path, index: Index) -> dict[str, int]:
    """The bytes of what a store holds beside results and entries, by the name of the folder."""
    try:
        return _other_sizes(root, index)
    except MALFORMED:
        return _other_sizes(root, Index(root, ignored=True))


def _other_sizes(root: Path, index: Index) -> dict[str, int]:
    folders = {name: root / name for name in OTHERS if (root / name).is_dir()}
    rows = {name: index.rows(f, _bytes) if name in MANY else _bytes(f) for name, f in folders.items()}
    return {name: sum(size for (size,) in of_folder) for name, of_folder in rows.items()}


def _bytes(folder: Path) -> list[tuple[int]]:
    """One row: the bytes of everything below a folder."""
    return [(sum(at.st_size for _, at in below(folder)),)]


def below(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The path and stat of everything below a folder but folders; what goes meanwhile is left out."""
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                yield f"{place}/{name}", os.lstat(f"{place}/{name}")


def _folders(place: Path) -> list[Path]:
    try:
        with os.scandir(place) as inside:
            return [Path(e.path) for e in inside if e.name[0] != "." and e.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _entries(folder: Path) -> list[list[Any]]:
    """A row for each entry of a stage; see Listed."""
    rows: list[list[Any]] = []
    with os.scandir(folder) as inside:
        for file in inside:
            if (found := ENTRY.fullmatch(file.name)) is None:
                continue
            with contextlib.suppress(FileNotFoundError):
                at = file.stat(follow_symlinks=False)
                content = read_json(Path(file.path)) if stat.S_ISREG(at.st_mode) else None
                digest = content.get("digest") if isinstance(content, dict) and content.get("key") == found[1] else ""
                digest = digest if isinstance(digest, str) and FOLDER.fullmatch(digest) else ""
                rows.append([file.name, at.st_uid, int(at.st_mtime), at.st_size, digest, digest == found[1]])
    return rows


def _objects(folder: Path) -> list[list[Any]]:
    """A row for each object; see Result."""
    rows: list[list[Any]] = []
    with os.scandir(folder) as inside:
        for at in inside:
            if FOLDER.fullmatch(at.name) and at.is_dir(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):
                    created = at.stat(follow_symlinks=False)
                    kind, source = _described(Path(at.path, FACTS))
                    files = list(below(Path(at.path)))
                    linked = [[path[len(at.path) + 1 :], file.st_ino] for path, file in files if file.st_nlink > 1]
                    size = sum(file.st_size for _, file in files)
                    rows.append([at.name, created.st_uid, int(created.st_mtime), kind, source, size, linked])
    return rows


def _described(facts: Path) -> tuple[str, str]:
    """The kind of a result, and where its model came from."""
    known = read_json(facts)
    if not isinstance(known, dict):
        return "?", ""
    source = known.get("facts", {}).get("source", {}) if isinstance(known.get("facts"), dict) else {}
    texts = [v for v in (source.get("factory"), *source.values()) if isinstance(v, str)] if source else []
    return str(known.get("kind")), texts[0] if texts else ""


def _used(root: Path, index: Index) -> dict[str, tuple[float, str]]:
    """By digest, when it was last used and what its note says. Texts are kept in the index; times are looked at."""
    folder = root / use.PLACE
    known: dict[str, str] = {row[0]: row[1] for row in index.recall("texts")[1]}
    found: dict[str, tuple[float, str]] = {}
    read = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as inside:
        for note in inside:
            name = note.name
            if len(name) != 64:
                continue
            try:
                at = note.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            text = known.get(name)
            if text is None or len(text) != at.st_size:  # it only grows
                text, read = use.read_note(Path(note.path)), read + 1
            found[name] = (at.st_mtime, text)
    if read or len(found) != len(known):
        index.keep("texts", None, [(name, text) for name, (_, text) in found.items()])
    return found
