"""A run's results as one file: `export` writes it from a store, `import` adds them to another.

    bundle.json                     which results and entries there are
    run.json                        the run, for people
    entries/<stage>/<key>.json      action entries
    objects/<digest>/…              the files of each result

It is a tar file without compression. `import` does not trust it: names, types of members, digests and keys are
verified before anything is published in the store.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pipeline import disk
from pipeline.errors import CheckFailed, ConfigError, listed
from pipeline.machine.installed import own_version
from pipeline.planning.ways import SERVED
from pipeline.runs import folders
from pipeline.store import Entry, State, Store, actions
from pipeline.store import key as keys
from pipeline.store.files import LARGEST_JSON, hidden, read_json, records, sync, tree_digest
from pipeline.store.store import FACTS

HEAD, RUN = "bundle.json", "run.json"
FORMAT = {"bundle": 1, "digest": "sha256"}
MEMBER = re.compile(r"entries/([a-z0-9_]{1,80})/([0-9a-f]{64})\.json|objects/([0-9a-f]{64})/(.+)", re.DOTALL)
MOST_ENTRIES = 10_000


@dataclass
class Imported:
    """The result of an import.

    Args:
        run: The run.json that was exported. Only people read it.
        results: Digests of results that are new in the store.
        present: How many results were there already.
        entries: How many entries were recorded.
    """

    run: Mapping[str, Any]
    results: list[str] = field(default_factory=list)
    present: int = 0
    entries: int = 0


def write(store: Store, folder: Path, run: Mapping[str, Any], file: Path) -> tuple[int, int]:
    """Writes a run's results and entries into a file, which appears whole or not at all.

    Args:
        store: Where its results are.
        folder: The run's.
        run: Its run.json.
        file: Where to.

    Returns the number of results and their bytes. Raises ConfigError where a result is no longer there, OSError.
    """
    digests = sorted(folders.digests(run))
    with store.keeping():
        gone = [d for d in digests if store.state(d, thorough=True) is not State.PRESENT]
        if gone:
            raise ConfigError(
                f"{folder}: {len(gone)} of its {len(digests)} results are no longer in the store {store.root}",
                allowed="a run whose results are all there; `pin` keeps them",
                command="the run's command once more, which builds them again",
            )
        entries = _entries(store, run, digests)
        head = {**FORMAT, "drydock": own_version(), "objects": digests, "entries": len(entries)}
        size = 0
        with hidden(file, 0o644) as beside, tarfile.open(beside, "w", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, HEAD, json.dumps(head, indent=1).encode())
            _add(tar, RUN, (folder / folders.RUN).read_bytes())
            for entry in entries:
                name = f"entries/{entry.key_document['stage']}/{entry.key}.json"
                _add(tar, name, json.dumps(asdict(entry), sort_keys=True).encode())
            for digest in digests:
                for one in store.files(digest):
                    with (store.objects.folder(digest) / one.path).open("rb") as content:
                        _add(tar, f"objects/{digest}/{one.path}", content, one.size)
                        size += one.size
            tar.close()
            sync(beside)
            disk.chmod(beside, 0o644)
            beside.replace(file)
        sync(file.absolute().parent)
    return len(digests), size


def _entries(store: Store, run: Mapping[str, Any], digests: list[str]) -> list[Entry]:
    """The trusted entries of a run's stages, and those that say which alternative served it."""
    found = []
    for key in sorted({str(stage.get("key")) for stage in run["stages"]}):
        for stage in sorted({path.parent.name for path in (store.root / "actions").glob(f"*/{key}*.json")}):
            if (entry := store.actions.find(stage, key)) is not None:
                found.append(entry)
    return [*found, *(e for e in store.actions.of_stage(SERVED, MOST_ENTRIES) if e.digest in digests)]


def _add(tar: tarfile.TarFile, name: str, content: bytes | IO[bytes], size: int | None = None) -> None:
    """Adds a member without time, host or user."""
    member = tarfile.TarInfo(name)
    stream = io.BytesIO(content) if isinstance(content, bytes) else content
    member.size = len(content) if isinstance(content, bytes) else size or 0
    member.mode = 0o644
    tar.addfile(member, stream)


def read(store: Store, file: Path) -> Imported:
    """Adds an exported run to a store. If the file ends too early, the results before that stay in the store.

    Raises:
        ConfigError: For a file that is no such bundle, or cannot be read.
        CheckFailed: Where a content's digest is not its name.
    """
    if what := disk.special(file):
        raise ConfigError(f"{file} is {what}", allowed="a file that `export` wrote")
    try:
        with tarfile.open(file, "r:") as tar, store.keeping():
            return _read(store, file, tar)
    except (tarfile.TarError, EOFError, OverflowError, RecursionError, ValueError) as e:  # tarfile raises these
        raise _refused(file, f"{type(e).__name__}: {e}") from e
    except OSError as e:
        if e.filename is None or Path(os.fsdecode(e.filename)) != file:
            raise
        raise ConfigError(f"{file} cannot be read: {e.strerror}", allowed="a file that `export` wrote") from e


def _refused(file: Path, why: str) -> ConfigError:
    return ConfigError(f"{file} is no bundle of ours: {why}", allowed="a file that `export` wrote, as it was")


def _read(store: Store, file: Path, tar: tarfile.TarFile) -> Imported:
    members = _Members(file, tar)
    head = members.json(HEAD)
    digests = head.get("objects") if isinstance(head, dict) else None
    if not isinstance(digests, list) or {n: head.get(n) for n in FORMAT} != FORMAT:
        raise _refused(file, f"{HEAD} says {json.dumps(head)[:80]}")
    run = members.json(RUN)
    done = Imported(run if isinstance(run, dict) else {})
    entries = [_entry(file, members.json_of(member), stage, key) for member, stage, key in members.entries()]
    for digest, files in members.objects():
        if digest not in digests:
            raise _refused(file, f"{HEAD} does not name objects/{digest[:12]}…")
        _take_in(store, file, tar, digest, files, done)
    missing = [d for d in digests if d not in members.complete]
    if missing:
        raise _refused(file, f"it ends early, without {listed(str(d)[:12] for d in missing)}")
    for entry in entries:
        if entry.digest not in digests and not entry.in_memory:
            raise _refused(file, f"the entry {entry.key[:12]} leads to a result that is not in it")
    for entry in entries:
        store.record(entry)
    done.entries = len(entries)
    return done


def _take_in(
    store: Store,
    file: Path,
    tar: tarfile.TarFile,
    digest: str,
    files: list[tuple[tarfile.TarInfo, str]],
    done: Imported,
) -> None:
    """Writes the files of one result into a build folder, and publishes them if their digest is their name."""
    if store.state(digest) is State.PRESENT:
        done.present += 1
        return
    with store.staging() as folder, store.explained():
        for member, path in files:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            source = tar.extractfile(member)
            assert source is not None  # a plain file
            with target.open("xb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
        facts = read_json(folder / FACTS)
        if tree_digest(records(folder, shared={})) != digest:
            raise CheckFailed(
                f"{file}: objects/{digest[:12]}… is not what its name says: its content has another SHA-256",
                command="export the run again, and import that file",
            )
        if not (
            isinstance(facts, dict) and isinstance(facts.get("kind"), str) and isinstance(facts.get("facts"), dict)
        ):
            raise _refused(file, f"objects/{digest[:12]}… does not say of what kind it is")
        store.objects.publish(folder)
    store.state(digest)
    done.results.append(digest)


def _entry(file: Path, content: Any, stage: str, key: str) -> Entry:
    """An entry, verified: its key is the digest of its document. Raises ConfigError."""
    entry = actions.parse(content, key)
    with contextlib.suppress(KeyError, TypeError):
        if entry is not None and entry.key_document["stage"] == stage and keys.digest(entry.key_document) == key:
            if stage == SERVED and not _is_way(entry):
                raise _refused(file, f"the entry {key[:12]} names no alternative that served")
            return entry
    raise _refused(file, f"entries/{stage}/{key[:12]}….json is no entry of that key")


def _is_way(entry: Entry) -> bool:
    return isinstance(entry.notes.get("instead"), dict) and isinstance(entry.notes.get("refused"), list)


class _Members:
    """The members of a tar file in their order. Each must be a plain file with one of our names."""

    def __init__(self, file: Path, tar: tarfile.TarFile) -> None:
        self._file, self._tar = file, tar
        self._names: set[str] = set()
        self._next = self._take()
        self.complete: set[str] = set()

    def _take(self) -> tarfile.TarInfo | None:
        member = self._tar.next()
        if member is None:
            return None
        name = member.name
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse is not None or member.size < 0:
            raise _refused(self._file, f"{name!r} is no plain file")
        if name in self._names:
            raise _refused(self._file, f"{name!r} is in it twice")
        self._names.add(name)
        return member

    def json_of(self, member: tarfile.TarInfo) -> Any:
        if member.size > LARGEST_JSON:
            raise _refused(self._file, f"{member.name!r} is {member.size} bytes")
        content = self._tar.extractfile(member)
        assert content is not None  # a plain file
        try:
            return json.loads(content.read())
        except (ValueError, RecursionError) as e:
            raise _refused(self._file, f"{member.name!r} is no JSON") from e

    def json(self, name: str) -> Any:
        """The next member, which must have this name."""
        member = self._next
        if member is None or member.name != name:
            raise _refused(self._file, f"there is {member.name!r} in the place of {name}" if member else "it is empty")
        found = self.json_of(member)
        self._next = self._take()
        return found

    def entries(self) -> Iterator[tuple[tarfile.TarInfo, str, str]]:
        """The entries that follow, each with its stage and key."""
        count = 0
        while self._next is not None and (found := MEMBER.fullmatch(self._next.name)) is not None and found[1]:
            if (count := count + 1) > MOST_ENTRIES:
                raise _refused(self._file, f"it has more than {MOST_ENTRIES} entries")
            yield self._next, found[1], found[2]
            self._next = self._take()

    def objects(self) -> Iterator[tuple[str, list[tuple[tarfile.TarInfo, str]]]]:
        """The results that follow, each with its files and their paths in it."""
        while self._next is not None:
            digest, files = "", []
            while self._next is not None:
                found = MEMBER.fullmatch(self._next.name)
                if found is None or found[3] is None or not _is_inside(found[4]):
                    raise _refused(self._file, f"{self._next.name!r} is no name that `export` writes")
                if digest and found[3] != digest:
                    break
                digest = found[3]
                files.append((self._next, found[4]))
                self._next = self._take()
            if digest in self.complete:
                raise _refused(self._file, f"objects/{digest[:12]}… is in two places")
            yield digest, files
            self.complete.add(digest)


def _is_inside(path: str) -> bool:
    """Whether a relative path stays inside its folder, by the rules of every system."""
    parts = path.split("/")
    plain = all(part not in ("", ".", "..") and len(os.fsencode(part)) <= 255 for part in parts)
    return plain and "\0" not in path and "\\" not in path and str(PurePosixPath(path)) == path
