"""Immutable artifacts, each a folder named by its content digest."""

from __future__ import annotations

import contextlib
import logging
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
    write_json,
)
from pipeline.store.files import stamp as stat_of

log = logging.getLogger(__name__)


class State(StrEnum):
    """How an object stands."""

    PRESENT = "present"
    ABSENT = "absent"
    DAMAGED = "damaged"


class Damaged(Exception):
    """A stored artifact is gone, or is not what it was when it was published and has been set aside."""

    def __init__(self, digest: str) -> None:
        super().__init__(digest)
        self.digest = digest


class Objects:
    """The folders of artifacts under `root`."""

    def __init__(self, root: Path) -> None:
        self._objects = root / "objects"
        self._seen = root / "seen"
        self._quarantine = root / "quarantine"

    def folder(self, digest: str) -> Path:
        """Where the object with this digest is, or would be."""
        return self._objects / digest[:2] / digest

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
        shared = self._shareable(sources if any(p.lstat().st_nlink > 1 for p in walk(staged, shared=None)) else ())
        files = records(staged, shared=shared)
        for path in (staged / r.path for r in files):
            if path.lstat().st_ino in shared:
                sync(path.parent)  # the name is new, the file is not
            else:
                sync(path)
                with contextlib.suppress(OSError):  # where files have no modes; digests protect them
                    path.chmod(0o444)
        digest = tree_digest(files)
        target = self.folder(digest)
        if self.state(digest, thorough=True) is not State.PRESENT:
            write_json(self._manifest(digest), [vars(f) for f in files], durable=True)
            # ENOTEMPTY: somebody published the same content first. Theirs is as good as ours.
            with contextlib.suppress(FileExistsError):
                try:
                    staged.rename(target)
                except OSError as e:
                    if not target.is_dir():
                        raise
                    raise FileExistsError from e
            sync(target.parent)
            self._remember(digest, files)
            self.restamp(sources, shared)
        return digest

    def restamp(self, sources: Collection[str], inodes: Collection[int]) -> None:
        """Takes note that files of these objects got or lost another name, which changes their ctime and no content.

        Without this they would be hashed again. Any other change is left to be found.
        """
        for digest in sources:
            then, now = self._then_and_now(digest)
            moved = {n: s for n, s in now.items() if s[2] in inodes and differ_by_links_alone(then.get(n), s)}
            if moved:
                with contextlib.suppress(OSError):  # a memo that cannot be kept costs time and nothing else
                    write_json(self._stamps(digest), {**then, **moved})

    def state(self, digest: str, *, thorough: bool = False) -> State:
        """Whether an object is there and whole; one that is not whole is set aside first.

        Files are hashed when their stat is not that of the last time they were hashed, or always if `thorough`.
        """
        folder = self.folder(digest)
        if not folder.is_dir():
            return State.ABSENT
        if (not thorough and self._untouched(digest)) or self._matches(digest):
            return State.PRESENT
        self._set_aside(digest)
        return State.DAMAGED

    def files(self, digest: str) -> list[FileRecord]:
        """The manifest of an object that is present. Raises Damaged when there is none."""
        listed = read_json(self._manifest(digest))
        if not isinstance(listed, list):
            raise Damaged(digest)
        return [FileRecord(**f) for f in listed]

    def _shareable(self, sources: Collection[str]) -> dict[int, str]:
        """The SHA-256 of every file of some objects, by inode. Raises Damaged when one of them is gone.

        It is not computed again: should a file have been harmed meanwhile, whoever shares it is found damaged with it.
        """
        shared = {}
        for digest in sources:
            for file in self.files(digest):
                try:
                    shared[(self.folder(digest) / file.path).lstat().st_ino] = file.sha256
                except FileNotFoundError as e:
                    raise Damaged(digest) from e
        return shared

    def _matches(self, digest: str) -> bool:
        try:
            files = records(self.folder(digest), shared=None)  # another object may have the same file
        except (OSError, ValueError) as e:
            if isinstance(e, OSError) and e.errno in disk.PASSING:
                raise  # it says nothing of the files
            return False
        if tree_digest(files) != digest:
            return False
        # The digest is the name, so a lost or torn manifest is simply derived again.
        if read_json(self._manifest(digest)) != [vars(f) for f in files] or not self._untouched(digest):
            with contextlib.suppress(OSError):
                write_json(self._manifest(digest), [vars(f) for f in files])
                self._remember(digest, files)
        return True

    def _manifest(self, digest: str) -> Path:
        return self._objects / digest[:2] / f"{digest}.json"

    def _stamps(self, digest: str) -> Path:
        return self._seen / f"{digest}.json"

    def _remember(self, digest: str, files: list[FileRecord]) -> None:
        write_json(self._stamps(digest), self._stat(digest, files))

    def _untouched(self, digest: str) -> bool:
        then, now = self._then_and_now(digest)
        return bool(now) and then == now

    def _then_and_now(self, digest: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The stat of each file of an object when it was last hashed, and at present; empty where there is none."""
        then, manifest = read_json(self._stamps(digest)), read_json(self._manifest(digest))
        try:
            now = self._stat(digest, [FileRecord(**f) for f in manifest or ()])
        except (OSError, TypeError):
            now = {}
        return then if isinstance(then, dict) else {}, now

    def _stat(self, digest: str, files: list[FileRecord]) -> dict[str, Any]:
        folder = self.folder(digest)
        return {f.path: stat_of(folder / f.path) for f in files}

    def _set_aside(self, digest: str) -> None:
        self._quarantine.mkdir(exist_ok=True)
        aside = self._quarantine / f"{digest}.{uuid.uuid4().hex[:8]}"
        log.warning("stored artifact %s is damaged: set aside in %s, to be built again", digest[:12], aside)
        try:
            self.folder(digest).rename(aside)
        except FileNotFoundError:
            return  # another process set it aside first
        self._manifest(digest).unlink(missing_ok=True)
        self._stamps(digest).unlink(missing_ok=True)
