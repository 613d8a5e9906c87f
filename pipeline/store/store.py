"""The store's front: objects, action entries, locks and private build folders under one root."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline import disk, units
from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, DrydockError, StageError
from pipeline.store import key as keys
from pipeline.store import litter, mark, use
from pipeline.store.actions import Actions, Entry
from pipeline.store.elsewhere import Elsewhere, Listing
from pipeline.store.files import FileRecord, read_json, read_owned, remove_dead, remove_tree, write_json
from pipeline.store.locks import Lock
from pipeline.store.objects import Damaged, Objects, State
from pipeline.store.owners import Trust, user_name
from pipeline.store.root import Root

# The facts of an artifact are part of its content, so they live among its files.
FACTS = "artifact.json"
# When a stage fails, its message says so if fewer bytes than these are free.
SCANT = 64 * 2**20
# How many entries of a stage are compared to say why a key missed.
COMPARED = 50
# Why an entry of this user's own is not used.
NOT_ALONE = "there is one, which others could have written to"

log = logging.getLogger(__name__)


class Store:
    """A content-addressed store in one folder, made when it is first used.

    Args:
        root: The folder.
        lower: Folders of other stores, searched in order for what this one does not have. Nothing is written to them.
        trust: Whose results are hits; by default this user's alone.
        elsewhere: A remote place, searched last; results that are built here are uploaded to it.

    Raises ConfigError when the folder cannot be written, or one of them has another format.
    """

    def __init__(
        self, root: Path, *lower: Path, trust: Trust | None = None, elsewhere: Elsewhere | None = None
    ) -> None:
        self.root = root
        self._elsewhere = elsewhere
        self.trust = trust or Trust()
        self._owned = Root(root)
        objects, actions = None, None
        for folder in reversed(lower):
            mark.demand(folder, mark.read(folder))
            objects = Objects(folder, self.trust, objects, above=root)
            actions = Actions(folder, self.trust, actions)
        self.objects = Objects(root, self.trust, objects)
        self.actions = Actions(root, self.trust, actions)
        self._building: list[Path] = []
        self._uses: use.Uses | None = None
        self._prepare()

    def _prepare(self) -> None:
        if (found := mark.read(self.root)) is not None:
            mark.demand(self.root, found)
        with self.explained():
            self.root.mkdir(parents=True, exist_ok=True)
            if found is None:
                remove_dead(self.root)  # of a process that died before there was a folder for marks
            if found is None or not all((self.root / name).is_dir() for name in ("staging", "facts")):
                with self._marked_run():
                    self._furnish(found)

    def _furnish(self, found: Any | None) -> None:
        if found is None:
            self._owned.write(self.root / mark.FILE, mark.FORMAT)
        self._owned.folder(self.root / "staging")
        with contextlib.suppress(OSError):  # facts about this machine only save time
            self._owned.folder(self.root / "facts")

    def lock(self, key: str, what: str) -> Lock:
        """The lock of one key; `what` names it to a person who waits."""
        return self._lock("locks", key, what)

    def _lock(self, place: str, name: str, what: str) -> Lock:
        with self.explained():
            folder, mode = self._owned.folder(self.root / place), self._owned.mode(0o666)
        return Lock(folder / f"{name}.lock", what, self.explained, mode)

    @contextlib.contextmanager
    def staging(self, sources: Collection[str] = ()) -> Iterator[Path]:
        """A private, empty folder. It is removed at the end, unless it was published.

        Args:
            sources: Digests of the objects to whose files it may have hard links.
        """
        name = uuid.uuid4().hex
        folder = self.root / "staging" / name
        with self._marked(f"staging-{name}", "a build folder"):
            try:
                with self.explained():
                    folder.mkdir()
                self._building.append(folder)
                yield folder
            finally:
                self._clear(folder, sources)

    def abandon(self) -> None:
        """Removes the build folders: for a process that is ended while it builds."""
        for folder in self._building:
            remove_tree(folder)

    def _clear(self, folder: Path, sources: Collection[str]) -> None:
        linked = set()
        with contextlib.suppress(OSError):
            linked = {at.st_ino for p in folder.rglob("*") if (at := p.lstat()).st_nlink > 1}
        remove_tree(folder)
        self._building = [f for f in self._building if f != folder]
        self.objects.restamp(sources if linked else (), linked)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Surrounds a run. First removes what dead runs left. A run that dies leaves its own mark."""
        self.sweep()
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(DrydockError):  # in a store that is only read, no run leaves anything
                stack.enter_context(self._marked_run())
            stack.enter_context(self.keeping())
            if self._elsewhere is not None:
                stack.enter_context(self._elsewhere.session())
            yield

    @contextlib.contextmanager
    def keeping(self) -> Iterator[None]:
        """Until the end of the block, nobody removes a result that is looked up or published in it; see use.py."""
        uses = self._uses = use.Uses(self._owned)
        try:
            yield
        finally:
            self._uses = None
            uses.end()

    def _marked_run(self) -> contextlib.AbstractContextManager[None]:
        return self._marked(f"run-{uuid.uuid4().hex}", "a run")

    @contextlib.contextmanager
    def _marked(self, name: str, what: str) -> Iterator[None]:
        """Shows other runs that our work is not finished, by a lock that the kernel frees when we die."""
        lock = self._lock(litter.MARKS, name, what)
        lock.acquire()
        try:
            yield
        finally:
            lock.remove()

    def sweep(self) -> None:
        """Removes what dead processes left: build folders and, if some process died, unfinished files.

        What cannot be removed stays, with its mark, for a later run or a run of its owner's; it is no error.
        """
        litter.sweep(self.root)

    def publish(self, artifact: Artifact, sources: Collection[str] = ()) -> Artifact:
        """Makes a finished artifact visible under its content digest.

        Args:
            artifact: The artifact; its folder is a staging folder.
            sources: Digests of the objects to whose files the folder may have hard links.

        Raises ConfigError, StageError.
        """
        if artifact.folder is None:
            raise StageError(f"a {artifact.kind} artifact without files was to be stored")
        with self.explained():
            write_json(artifact.folder / FACTS, {"kind": str(artifact.kind), "facts": dict(artifact.facts)})
            if self._uses is not None:
                self._uses.begin(artifact.folder / FACTS)
            try:
                digest = self.objects.publish(artifact.folder, sources)
            except ValueError as e:
                raise StageError(
                    f"a result cannot be stored: {e}",
                    command="the stage must write plain files, or link to those of its inputs",
                ) from e
            folder = self.objects.folder(digest)
            if self._uses is not None:
                self._uses.add(digest, folder / FACTS)
            return replace(artifact, folder=folder, digest=digest)

    def adopt(self, artifact: Artifact) -> None:
        """Keeps a copy of another store's artifact, under the same digest. Raises ConfigError, StageError."""
        assert artifact.folder is not None
        if self.state(artifact.digest) is not State.PRESENT:
            with self.staging() as folder:
                with self.explained():
                    shutil.copytree(artifact.folder, folder, copy_function=shutil.copyfile, dirs_exist_ok=True)
                self.publish(replace(artifact, folder=folder))

    def record(self, entry: Entry, *, replacing: str | None = None) -> Entry:
        """Records which content a key gave. Returns the entry that is in the store then: the first writer's."""
        with self.explained():
            stands = self.actions.add(entry, replacing=replacing)
        if not self._recognises(entry):
            with self.explained():
                owner = user_name(self.root.stat().st_uid)
            raise ConfigError(
                f"store={self.root}: its file system does not say that what this user writes there is theirs alone",
                allowed="a file system that keeps owners and modes, or one where all is somebody's whom you trust",
                command=f"store=/a/local/folder, or 'trust=[user:{owner}]'",
            )
        return stands

    def _recognises(self, entry: Entry) -> bool:
        """Whether an entry that was just recorded counts as one that is trusted. Raises ConfigError, Stopped."""
        stage, key = entry.key_document["stage"], entry.key
        if self.actions.find(stage, key) is not None:
            return True
        with self.explained():  # one that cannot be read is not found either, and its owner is not the reason
            self.actions.read(stage, key)
        return self.actions.find(stage, key) is not None

    def find(self, stage: str, key: str) -> Entry | None:
        """The entry of a key, here or elsewhere; None where no trusted one exists."""
        entry = self.actions.find(stage, key)
        return self._elsewhere.find(stage, key) if entry is None and self._elsewhere is not None else entry

    def state(self, digest: str, *, thorough: bool = False) -> State:
        """The state of the object with this digest; see Objects.state. Raises ConfigError when damage cannot be moved.

        REMOTE for an object that is not whole here and is known to be elsewhere.
        """
        with self.explained():
            if self._uses is not None:
                self._uses.add(digest, self.objects.folder(digest) / FACTS)
            state = self.objects.state(digest, thorough=thorough)
        if state is State.PRESENT or self._elsewhere is None:
            return state
        there = self._elsewhere.knows(digest) or (state is State.DAMAGED and self._elsewhere.has(digest))
        return State.REMOTE if there else state

    def is_elsewhere(self, digest: str) -> bool:
        """Whether an object that is not here can be fetched from elsewhere; sends a request."""
        return self._elsewhere is not None and self._elsewhere.has(digest)

    def fetch(self, digest: str) -> None:
        """Fetches an object from elsewhere, unless it is here. Raises Damaged, ConfigError, StageError."""
        if self._elsewhere is None or self.objects.state(digest) is State.PRESENT:
            return
        with self.staging() as folder, self.explained():
            self._elsewhere.fetch(digest, folder)
            if self._uses is not None:
                self._uses.begin(folder / FACTS)
            if self.objects.publish(folder) != digest:
                raise Damaged(digest)
            if self._uses is not None:
                self._uses.add(digest, self.objects.folder(digest) / FACTS)

    def offer(self, entry: Entry) -> None:
        """Uploads a result of this user's in the background, where a remote is set."""
        if self._elsewhere is not None and self.actions.is_own(entry.key_document["stage"], entry.key):
            stored = self.objects.state(entry.digest) is State.PRESENT  # otherwise the result is in memory only
            files = self.objects.files(entry.digest) if stored else []
            self._elsewhere.offer(entry, self.objects.folder(entry.digest) if stored else None, files)

    def open(self, digest: str) -> Artifact:
        """A stored artifact, every byte of it verified. Raises Damaged when it is gone or not whole."""
        state = self.state(digest, thorough=True)
        if state is State.REMOTE:
            self.fetch(digest)
        elif state is not State.PRESENT:
            raise Damaged(digest)
        return self._described(digest)

    def glance(self, digest: str) -> Artifact:
        """A stored artifact that a plan found present. Its bytes are not read again; one elsewhere has no files."""
        if (listing := self._listed_elsewhere(digest)) is not None:
            described = listing.described
            return Artifact(Kind(described["kind"]), self.objects.folder(digest), described["facts"], digest=digest)
        return self._described(digest)

    def files(self, digest: str) -> list[FileRecord]:
        """The files of an object that is present, or elsewhere. Raises Damaged."""
        if (listing := self._listed_elsewhere(digest)) is not None:
            return list(listing.files)
        with self.explained():
            return self.objects.files(digest)

    def _listed_elsewhere(self, digest: str) -> Listing | None:
        """The listing of an object that is elsewhere and not here. Raises Damaged when there is none."""
        if self._elsewhere is None or self.state(digest) is not State.REMOTE:
            return None
        listing = self._elsewhere.listing(digest)
        if listing is None:
            raise Damaged(digest)
        return listing

    def explained(self) -> contextlib.AbstractContextManager[None]:
        """Surrounds code that touches the store's files; turns errors of the disk into ours: see pipeline/disk.py."""
        command = "store=/another/folder, or set DRYDOCK_STORE"
        return disk.explained(f"store={self.root}", command, self.root)

    def _described(self, digest: str) -> Artifact:
        with self.explained():
            folder = self.objects.folder(digest)
        described = read_json(folder / FACTS)
        if not isinstance(described, dict):
            raise Damaged(digest)
        return Artifact(Kind(described["kind"]), folder, facts=described["facts"], digest=digest)

    def note_run(self, run: Any) -> None:
        """Notes the digest of a run.json that this user's run wrote, so that it is recognised wherever it lies."""
        with (
            contextlib.suppress(OSError, DrydockError),
            self._marked_run(),
        ):  # without the note it counts as a stranger's
            self._owned.write(self._run(run), {"run": _digest_of(run)})

    def name(self, digests: Iterable[str], model: str, target: str) -> None:
        """Notes for which model and target results were built. Only people read the note."""
        for digest in digests:
            with contextlib.suppress(OSError):
                use.name(self._owned, digest, model, target)

    def wrote(self, run: Any) -> bool:
        """Whether a run of this user's wrote a run.json of exactly this content."""
        read, at = read_owned(self._run(run))
        mine = at is not None and at.st_uid == self.trust.uid and self.trust.covers(at)
        return mine and read == {
            "run": _digest_of(run)
        }  # compares the content too: anybody may give a note another name

    def _run(self, run: Any) -> Path:
        return self.root / "runs" / f"{_digest_of(run)}.json"

    def shortage(self) -> str:
        """What to do about a disk that is nearly full; empty otherwise. Vendors report a full disk in many ways."""
        try:
            free = shutil.disk_usage(self.root).free
        except OSError:
            return ""
        return f"free some space: {units.size(free)} are left for the store in {self.root}" if free < SCANT else ""

    def tell_passed_over(self) -> None:
        """Says how many results were not trusted so far, whose they are, and what to type."""
        if passed_over := self.trust.summary():
            log.warning("%s", passed_over)
        if self._elsewhere is not None:
            self._elsewhere.tell_passed_over()

    def why_missed(self, key_document: Mapping[str, Any], sources: Mapping[str, str] = MappingProxyType({})) -> str:
        """In a few words, how a key differs from the nearest one that was built before.

        Args:
            key_document: What the key is the digest of.
            sources: Our source files of the stage, each with the digest of its code.
        """
        if (owner := self.trust.passed_over.get(keys.digest(key_document))) is not None:
            return f"there is one of {user_name(owner)}, who is not trusted" if owner != self.trust.uid else NOT_ALONE
        if self._elsewhere is not None and (why := self._elsewhere.why_missed(keys.digest(key_document))):
            return why
        nearest: list[str] | None = None
        with self.explained():
            for entry in self.actions.of_stage(key_document["stage"], COMPARED):
                found = keys.differences(entry.key_document, key_document, entry.sources, sources)
                if nearest is None or len(found) < len(nearest):
                    nearest = found
        return "never built" if nearest is None else "; ".join(nearest[:3])


def _digest_of(run: Any) -> str:
    """The digest of a run.json. The order counts: in a configuration it may decide which argument is which."""
    return hashlib.sha256(json.dumps(run).encode()).hexdigest()
