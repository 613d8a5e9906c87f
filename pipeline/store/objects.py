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
    """Whether an object is there, and whole."""

    PRESENT = "present"
    ABSENT = "absent"
    DAMAGED = "damaged"
    REMOTE = "remote"  # not here, and can be fetched from a remote; see Store.state


class Damaged(Exception):
    """A stored artifact is gone, or was set aside because its content differs from what was published."""

    def __init__(self, digest: str) -> None:
        super().__init__(digest)
        self.digest = digest


class Objects:
    """The folders of artifacts under `root`.

    Args:
        root: The store's folder.
        trust: Whose objects are used.
        below: The objects of the store below, which is searched where this one has no object.
        above: The folder of the store above this one. It keeps the stamps of both, and is the only one written to.
    """

    def __init__(
        self, root: Path, trust: Trust | None = None, below: Objects | None = None, above: Path | None = None
    ) -> None:
        self._root = Root(root)
        self._trust = trust or Trust()
        self._below = below
        self._stamps_in = Root(above or root)
        self._from = "" if above is None else f".{hashlib.sha256(os.fsencode(root)).hexdigest()[:8]}"
        self._spoilt: set[Path] = set()  # damaged objects that this user may not set aside

    def folder(self, digest: str) -> Path:
        """The folder where the object with this digest is, or would be."""
        found = self._found(digest)
        if found is None and self._below is not None:
            found = self._below._found(digest)
        plain = self._plain(digest)
        return found or (self._trust.own(plain) if os.path.lexists(plain) else plain)

    def publish(self, staged: Path, sources: Collection[str] = ()) -> str:
        """Moves a finished folder into place and returns its digest. An equal object that is there already stays.

        The order matters: the content reaches the disk first, then the manifest, then one rename makes the object
        visible.

        Args:
            staged: The folder.
            sources: Digests of objects whose files the folder may share by hard links. These files are on the disk
                already, and the manifest has their SHA-256.

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
        """Gives a folder the name of its digest; where another user has that name, the one with the owner's number."""
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
                    break  # somebody published the same content first: theirs is used
                refused = e
            else:
                break
        else:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from refused
        sync(target.parent)
        self._remember(target, files)

    def take_in(self, folder: Path) -> None:
        """Moves an object of another store on the same file system into this one, by one rename. Raises OSError.

        Its bytes are checked when it is used, as those of every object are.
        """
        there = Objects(folder.parents[2], self._trust)
        files = there._listed(folder) or records(folder, shared=None)
        self._move(folder, folder.name.partition(".")[0], files)
        if not folder.is_dir():
            there._forget(folder)

    def restamp(self, sources: Collection[str], inodes: Collection[int]) -> None:
        """Notes that files of these objects got or lost a hard link, which changes their ctime and not their content.

        Without the note they would be hashed again. Any other change is still detected.
        """
        for digest in sources if inodes else ():
            if (folder := self._found(digest)) is None:
                continue
            then, now = self._then_and_now(folder)
            moved = {n: s for n, s in now.items() if s[2] in inodes and differ_by_links_alone(then.get(n), s)}
            if moved:
                with contextlib.suppress(OSError):  # without the memo the next look hashes again
                    self._stamps_in.write(self._stamps(folder), {**then, **moved})
        if self._below is not None:
            self._below.restamp(sources, inodes)

    def state(self, digest: str, *, thorough: bool = False) -> State:
        """Whether an object is there and whole. A damaged one is set aside.

        A file is hashed when its stat has changed since it was last hashed, or always if `thorough`.
        """
        below = self._below.state(digest, thorough=thorough) if self._below and not self._found(digest) else None
        if below is not None or (folder := self._found(digest)) is None:
            return below or State.ABSENT
        return self.check(folder, thorough=thorough)

    def check(self, folder: Path, *, thorough: bool) -> State:
        """Whether the object in a folder of this store is whole, in the words of `state`."""
        if (not thorough and self._untouched(folder)) or self._matches(folder):
            return State.PRESENT
        self._set_aside(folder)
        return State.DAMAGED

    def withdraw(self, folder: Path, to: Path) -> None:
        """Takes an object out of the store by one rename. Raises OSError.

        Its manifest and its stamps are removed first: a later publisher of the same content writes them again. If the
        process dies between the two, the object gets them back at the next look.
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
        """The folder of an object in this store that is trusted and not known to be damaged."""
        return self._trust.choose(self._plain(digest), self._look)

    def _look(self, path: Path) -> tuple[Path, os.stat_result] | None:
        try:
            at = path.lstat()
        except OSError:
            return None
        return (path, at) if path not in self._spoilt and path.is_dir() else None

    def _shareable(self, sources: Collection[str], device: int) -> dict[int, str]:
        """The SHA-256 of every file of some objects on a device, by inode. Raises Damaged when one of them is gone.

        It comes from the manifests and is not computed again. If such a file is damaged, each object that shares it is
        found damaged too.
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
            with contextlib.suppress(
                OSError
            ):  # the name is the digest, so that a lost or torn manifest can be written again
                self._root.write(self._manifest(folder), [vars(f) for f in files])
        if not self._untouched(folder):
            with contextlib.suppress(OSError):
                self._remember(folder, files)
        return True

    def _manifest(self, folder: Path) -> Path:
        return folder.with_name(f"{folder.name}.json")

    def _listed(self, folder: Path) -> list[FileRecord]:
        """The files that an object's manifest lists; none where their digest is not the object's, whoever wrote it."""
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
        """The stat of each file of an object when it was last hashed, and now; empty where there is none."""
        then = read_json(self._stamps(folder))
        try:
            now = self._stat(folder, self._listed(folder))
        except OSError:
            now = {}
        return then if isinstance(then, dict) else {}, now

    def _stat(self, folder: Path, files: list[FileRecord]) -> dict[str, Any]:
        return {f.path: stat_of(folder / f.path) for f in files}

    def _set_aside(self, folder: Path) -> None:
        """Moves a damaged object away. From now on, passes over one of another user or of a store below."""
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
