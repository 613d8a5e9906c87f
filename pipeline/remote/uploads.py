"""Uploads results to a bucket, one after the other, while stages run."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from pathlib import Path

from pipeline import units
from pipeline.errors import Problem
from pipeline.remote import names
from pipeline.remote.answers import Altered, Unavailable
from pipeline.remote.bucket import Bucket, limit_of
from pipeline.remote.loop import together
from pipeline.remote.progress import Progress
from pipeline.remote.signing import NotTrusted, Signer, verified
from pipeline.store import Entry
from pipeline.store.files import FileRecord
from pipeline.store.store import FACTS

log = logging.getLogger(__name__)

Keep = Callable[[str, str, str], None]


class Uploads:
    """The uploads of one run.

    Args:
        bucket: The bucket.
        signer: The key pair that signs the entries.
        trusted: Public keys of signers whose existing entries are kept.
        damaged: Digests of objects that were found damaged in the bucket, and are written again.
        keep: Called with the envelope that the bucket has for a stage and key in the end.
    """

    def __init__(
        self,
        bucket: Bucket,
        signer: Signer,
        trusted: Collection[str],
        damaged: Collection[str],
        keep: Keep,
    ) -> None:
        self._bucket, self._signer, self._trusted = bucket, signer, trusted
        self._damaged, self._keep = damaged, keep
        self._turn = asyncio.Lock()
        self._under_way: dict[str, tuple[Future[None], int]] = {}
        self._failed: dict[str, str] = {}

    def add(self, entry: Entry, folder: Path | None, files: Sequence[FileRecord]) -> None:
        """Begins to upload a result, once in a run."""
        if entry.key not in self._under_way:
            work = self._bucket.loop.start(self._upload(entry, folder, files))
            self._under_way[entry.key] = work, sum(f.size for f in files)

    def cancel(self) -> None:
        """Cancels the uploads; an incomplete one stays invisible."""
        for work, _ in self._under_way.values():
            work.cancel()

    def finish(self, place: str) -> None:
        """Waits for the uploads, within a limit, and says which ones failed."""
        size = sum(count for work, count in self._under_way.values() if not work.done())
        until, progress = time.monotonic() + limit_of(size), Progress(self._bucket, size, "uploaded")
        try:
            for key, (work, _) in self._under_way.items():
                if not self._bucket.loop.done_by(work, until, progress.tick):
                    self._failed[key] = f"{units.size(size)} took longer than {limit_of(size):.0f} s"
                elif (error := work.exception()) is not None:
                    self._failed[key] = f"{type(error).__name__}: {error}"
        finally:
            self.cancel()
        if self._failed:
            count, why = len(self._failed), next(iter(self._failed.values()))
            results = "1 result was" if count == 1 else f"{count} results were"
            more = "; nothing more is put there by this process" if self._bucket.closed else ""
            what = f"{results} not put into {place}: {why}{more}"
            again = "the next run that uses them tries again; remote.write=false does not"
            off = self._bucket.why_off  # so that there is no second caution
            log.log(logging.INFO if off else logging.WARNING, "%s", Problem(what, command=again))
        self._under_way.clear()
        self._failed.clear()

    async def _upload(self, entry: Entry, folder: Path | None, files: Sequence[FileRecord]) -> None:
        async with self._turn:
            if not (why := self._bucket.closed or self._bucket.off):
                try:
                    await self._bucket.put_format()
                    if folder is not None:
                        await self._put_object(entry.digest, folder, files)
                    await self._put_entry(entry)
                    return
                except Unavailable as e:
                    why = self._bucket.closed = e.why
                except Altered:
                    why = "the local copy is damaged"
                except OSError as e:
                    why = f"the local copy cannot be read: {e.strerror}"
            self._failed[entry.key] = why

    async def _put_object(self, digest: str, folder: Path, files: Sequence[FileRecord]) -> None:
        """Uploads the files of an object, and then its manifest, unless they are there."""
        name, anew = names.manifest_name(digest), digest in self._damaged
        if not anew and names.parsed_manifest(await self._bucket.read(name) or "", digest) is not None:
            return
        await together(*(self._put_file(folder, file, anew=anew) for file in files))
        content = json.dumps(names.manifest(files, (folder / FACTS).read_text()))
        await self._bucket.write(name, content, replace=True)

    async def _put_file(self, folder: Path, file: FileRecord, *, anew: bool) -> None:
        name = names.file_name(file.sha256)
        if anew or await self._bucket.size(name) != file.size:
            await self._bucket.upload(name, folder / file.path, file)

    async def _put_entry(self, entry: Entry) -> None:
        """Writes an entry; the first writer wins. Writes it beside an entry of a signer who is not trusted."""
        stage, key = entry.key_document["stage"], entry.key
        name, envelope = names.action_name(stage, key), self._signer.sign(entry)
        if await self._bucket.write(name, envelope):
            self._keep(stage, key, envelope)
            return
        there = await self._bucket.read(name) or ""
        try:
            standing = verified(there, key, self._trusted)
        except NotTrusted:
            await self._bucket.write(names.action_name(stage, key, self._signer.id), envelope, replace=True)
            self._keep(stage, key, envelope)
            return
        if standing is not None and standing.digest in self._damaged and standing.digest != entry.digest:
            await self._bucket.write(name, envelope, replace=True)
            there = envelope
        self._keep(stage, key, there)
