"""Immutable artifacts, each a folder named by its content digest."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import uuid
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import Any

from pipeline import disk
from pipeline.store.files import (
    FileRecord,
    differ_by_links_alone,
    read_json,
    records,
    sync,
    tree_digest,
    walk,
)
from pipeline.store.files import stamp as stat_of
from pipeline.store.owners import Trust, user_name
from pipeline.store.root import Root

log = logging.getLogger(__name__)


class State(StrEnum):
    """How an object stands."""

    PRESENT = "present"
    ABSENT = "absent"
    DAMAGED = "damaged"
    REMOTE = "remote"  # not here, and to be had from elsewhere; see Store.state


class Damaged(Exception):
    """A stored artifact is gone, or is not what it was when it was published and has been set aside."""

    def __init__(self, digest: str) -> None:
        super().__init__(digest)
        self.digest = digest


class Objects:
    """The folders of artifacts under `root`.

    Args:
        root: The store's folder.
        trust: Whose objects are taken.
        below: Those of the store that is looked into where this one has none.
        above: The folder of the store that looks into this one, which keeps the stamps of both and is alone written to.
    """

    def __init__(
        self, root: Path, trust: Trust | None = None, below: Objects | None = None, above: Path | None = None
    ) -> None:
        self._root = Root(root)
        self._trust = trust or Trust()
        self._below = below
        self._stamps_in = Root(above or root)
        self._from = "" if above is None else f".{hashlib.sha256(os.fsencode(root)).hexdigest()[:8]}"
        self._spoilt: set[Path] = set()  # what is damaged, and is not this user's to set aside

    def folder(self, digest: str) -> Path:
        """Where the object with this digest is, or would be put."""
        found = self._found(digest)
        if found is None and self._below is not None:
            found = self._below._found(digest)
        plain = self._plain(digest)
        return found or (self._trust.own(plain) if os.path.lexists(plain) else plain)

    def publish(self, staged: Path, sources: Collection[str] = ()) -> str:
        """Moves a finished folder into place and returns its digest; an equal object that is there already wins.

        The order is the promise: content reaches the disk, then the manifest, then the one rename that makes the
        object visible.

        Args:
            staged: The folder.
            sources: Objects whose files the folder may share by hard links; these are on the disk already, and their
                SHA-256 is taken from the manifest.

        Raises OSError; ValueError for other links and special files.
        """
        linked = any(p.lstat().st_nlink > 1 for p in walk(staged, shared=None))
        shared = self._shareable(sources if linked else (), staged.lstat().st_dev)
        files = records(staged, shared=shared)
        for path in (staged / r.path for r in files):
            if path.lstat().st_ino in shared:
                sync(path.parent)  # the name is new, the file is not
            else:
                sync(path)
                disk.chmod(path, 0o444)  # digests protect it where there are no modes
        digest = tree_digest(files)
        if self.state(digest, thorough=True) is not State.PRESENT:
            self._move(staged, digest, files)
            self.restamp(sources, shared)
        return digest

    def _move(self, staged: Path, digest: str, files: list[FileRecord]) -> None:
        """Gives a folder the name of its digest, or the one beside it when that is another's."""
        for folder in (staged, *(p for p in staged.rglob("*") if p.is_dir())):
            disk.chmod(folder, self._root.mode(0o755))
        plain = self._plain(digest)
        for target in (plain, self._trust.own(plain)):
            self._root.write(self._manifest(target), [vars(f) for f in files], durable=True)
            try:
                staged.rename(target)
            except OSError as e:
                if not target.is_dir():
                    raise
                if self._found(digest):
                    break  # somebody published the same content first. Theirs is as good as ours.
                refused = e
            else:
                break
        else:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from refused
        sync(target.parent)
        self._remember(target, files)

    def take_in(self, folder: Path) -> None:
        """Moves an object of another store on the same file system into this one, by one rename. Raises OSError.

        Its bytes are not looked at, as those of any object are not until it is used.
        """
        there = Objects(folder.parents[2], self._trust)
        files = there._listed(folder) or records(folder, shared=None)
        self._move(folder, folder.name.partition(".")[0], files)
        if not folder.is_dir():
            there._forget(folder)

    def restamp(self, sources: Collection[str], inodes: Collection[int]) -> None:
        """Takes note that files of these objects got or lost another name, which changes their ctime and no content.

        Without this they would be hashed again. Any other change is left to be found.
        """
        for digest in sources if inodes else ():
            if (folder := self._found(digest)) is None:
                continue
            then, now = self._then_and_now(folder)
            moved = {n: s for n, s in now.items() if s[2] in inodes and differ_by_links_alone(then.get(n), s)}
            if moved:
                with contextlib.suppress(OSError):  # a memo that cannot be kept costs time and nothing else
                    self._stamps_in.write(self._stamps(folder), {**then, **moved})
        if self._below is not None:
            self._below.restamp(sources, inodes)

    def state(self, digest: str, *, thorough: bool = False) -> State:
        """Whether an object is there and whole; one that is not whole is set aside first.

        Files are hashed when their stat is not that of the last time they were hashed, or always if `thorough`.
        """
        below = self._below.state(digest, thorough=thorough) if self._below and not self._found(digest) else None
        if below is not None or (folder := self._found(digest)) is None:
            return below or State.ABSENT
        return self.check(folder, thorough=thorough)

    def check(self, folder: Path, *, thorough: bool) -> State:
        """Whether the object in a folder of this store is whole, as `state` says it."""
        if (not thorough and self._untouched(folder)) or self._matches(folder):
            return State.PRESENT
        self._set_aside(folder)
        return State.DAMAGED

    def withdraw(self, folder: Path, to: Path) -> None:
        """Moves an object out of sight by one rename. Raises OSError.

        Its manifest and its stamps go first: whoever publishes the same content again writes them anew. An object that
        a death leaves without them gets them back when it is looked at.
        """
        self._forget(folder)
        folder.rename(to)

    def _forget(self, folder: Path) -> None:
        self._manifest(folder).unlink(missing_ok=True)
        self._stamps(folder).unlink(missing_ok=True)

    def files(self, digest: str) -> list[FileRecord]:
        """The manifest of an object that is present. Raises Damaged when there is none."""
        folder = self._found(digest)
        if folder is None and self._below is not None:
            return self._below.files(digest)
        listed = self._listed(folder) if folder else []
        if not listed:
            raise Damaged(digest)
        return listed

    def _plain(self, digest: str) -> Path:
        return self._root.path / "objects" / digest[:2] / digest

    def _found(self, digest: str) -> Path | None:
        """The folder of an object, of those in this store that are trusted and have not been found damaged."""
        return self._trust.choose(self._plain(digest), self._look)

    def _look(self, path: Path) -> tuple[Path, os.stat_result] | None:
        try:
            at = path.lstat()
        except OSError:
            return None
        return (path, at) if path not in self._spoilt and path.is_dir() else None

    def _shareable(self, sources: Collection[str], device: int) -> dict[int, str]:
        """The SHA-256 of every file of some objects on a device, by inode. Raises Damaged when one of them is gone.

        It is not computed again: should a file have been harmed meanwhile, whoever shares it is found damaged with it.
        """
        shared = {}
        for digest in sources:
            folder = self.folder(digest)
            for file in self.files(digest):
                try:
                    at = (folder / file.path).lstat()
                except FileNotFoundError as e:
                    raise Damaged(digest) from e
                if at.st_dev == device:
                    shared[at.st_ino] = file.sha256
        return shared

    def _matches(self, folder: Path) -> bool:
        try:
            files = records(folder, shared=None)  # another object may have the same file
        except (OSError, ValueError) as e:
            if isinstance(e, OSError) and e.errno not in disk.HARMED:
                raise
            return False
        if tree_digest(files) != folder.name.partition(".")[0]:
            return False
        if self._listed(folder) != files:
            if self._from:
                return False
            with contextlib.suppress(OSError):  # the digest is the name, so a lost or torn manifest is derived again
                self._root.write(self._manifest(folder), [vars(f) for f in files])
        if not self._untouched(folder):
            with contextlib.suppress(OSError):
                self._remember(folder, files)
        return True

    def _manifest(self, folder: Path) -> Path:
        return folder.with_name(f"{folder.name}.json")

    def _listed(self, folder: Path) -> list[FileRecord]:
        """What the manifest of an object lists; nothing where that does not come to its digest, whoever wrote it."""
        listed = read_json(self._manifest(folder))
        try:
            files = [FileRecord(**f) for f in listed or ()]
            return files if tree_digest(files) == folder.name.partition(".")[0] else []
        except TypeError:
            return []

    def _stamps(self, folder: Path) -> Path:
        return self._stamps_in.path / "seen" / f"{folder.name}{self._from}.json"

    def _remember(self, folder: Path, files: list[FileRecord]) -> None:
        self._stamps_in.write(self._stamps(folder), self._stat(folder, files))

    def _untouched(self, folder: Path) -> bool:
        then, now = self._then_and_now(folder)
        return bool(now) and then == now

    def _then_and_now(self, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """The stat of each file of an object when it was last hashed, and at present; empty where there is none."""
        then = read_json(self._stamps(folder))
        try:
            now = self._stat(folder, self._listed(folder))
        except OSError:
            now = {}
        return then if isinstance(then, dict) else {}, now

    def _stat(self, folder: Path, files: list[FileRecord]) -> dict[str, Any]:
        return {f.path: stat_of(folder / f.path) for f in files}

    def _set_aside(self, folder: Path) -> None:
        """Moves what is damaged away; what is another user's or of a store below is passed over from now on."""
        owner, digest = folder.lstat().st_uid, folder.name[:12]
        try:
            if self._from:
                raise PermissionError(errno.EROFS, "not written to")
            aside = self._root.folder(self._root.path / "quarantine") / f"{folder.name}.{uuid.uuid4().hex[:8]}"
            folder.rename(aside)
        except FileNotFoundError:
            return  # another process set it aside first
        except OSError:
            if owner == self._trust.uid and not self._from:
                raise
            self._spoilt.add(folder)
            log.warning("stored artifact %s of %s is damaged: passed over, in %s", digest, user_name(owner), folder)
            return
        log.warning("stored artifact %s is damaged: set aside in %s, to be built again", digest, aside)
        self._forget(folder)
