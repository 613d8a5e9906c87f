"""A bucket as the last place that a store searches.

find      an entry, by a small read; cached beside the local store with its signature, which is verified again each time
fetch     an object's files, when a stage or the delivery needs them
offer     a result, uploaded while later stages run; the end of a run waits for that, within a limit

A failure costs a bounded time once in a process, and a caution: after that the bucket gets no more requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from pipeline.errors import BackendMissing, ConfigError, Problem, listed
from pipeline.machine.installed import how_to_install
from pipeline.machine.world import is_installed
from pipeline.remote import names, signing
from pipeline.remote.address import MODULES, Address
from pipeline.remote.answers import Altered, Unavailable
from pipeline.remote.bucket import WAITED_SECONDS, Bucket, bucket_at, limit_of
from pipeline.remote.cache import Cache
from pipeline.remote.loop import together
from pipeline.remote.progress import Progress
from pipeline.remote.signing import NotTrusted, Signer, verified
from pipeline.remote.uploads import Uploads
from pipeline.store import Damaged, Entry
from pipeline.store.elsewhere import Listing
from pipeline.store.files import FileRecord
from pipeline.store.owners import KEY

T = TypeVar("T")
log = logging.getLogger(__name__)

NO_KEY = "there is no key to sign it with"
# The sources of a client's S3 credentials, beside the machine's own role.
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")


class Remote:
    """A bucket behind a store; see pipeline.store.elsewhere.Elsewhere.

    Args:
        bucket: The bucket.
        root: The local store's folder, which has the cache of entries and manifests.
        trusted: Public keys of trusted signers, 64 hex digits each.
        signer: This user's key pair, trusted too; None where there is none: nothing is then written.
        write: Whether results are uploaded.
    """

    @classmethod
    def of(cls, address: Address, root: Path, trusted: frozenset[str], *, write: bool) -> Remote:
        """The remote at an address, with this user's own key pair; see Remote. Raises ConfigError, BackendMissing."""
        lacking = [module for module in MODULES if not is_installed(module)]
        if lacking:
            raise BackendMissing(
                [Problem(f"remote={address}: '{m}' is not installed", command=how_to_install(m)) for m in lacking]
            )
        if (folder := address.folder) is not None and not write and not folder.is_dir():
            raise ConfigError(f"remote={address} is no folder", command=f"ls {shlex.quote(str(folder.parent))}")
        return cls(bucket_at(address), root, trusted, signing.own(), write=write)

    def __init__(
        self, bucket: Bucket, root: Path, trusted: frozenset[str], signer: Signer | None, *, write: bool
    ) -> None:
        self._bucket = bucket
        self._trusted = trusted | ({signer.id} if signer else frozenset())
        self._cache = Cache(root, bucket.address)
        self._entries: dict[str, Entry] = {}
        self._missing: set[str] = set()
        self._listings: dict[str, Listing | None] = {}
        self._coming: dict[str, Future[Listing | None]] = {}
        self._there: set[str] = set()
        self._damaged: set[str] = set()  # objects that are damaged or missing
        self._passed_over: dict[str, str] = {}
        self._in_session = False
        self._signer = signer
        self._writes = write and bucket.address.writable
        self._uploads = (
            Uploads(bucket, signer, self._trusted, self._damaged, self._cache.keep_entry) if signer else None
        )

    def serves(self) -> str:
        """In a few words, whether the bucket answers, and what this user may do."""
        try:
            self._bucket.loop.run(self._bucket.check_format())
        except Unavailable as e:
            return f"does not serve: {e.why}; {_advice(self._bucket.address, e)}"
        there = "answers, with nothing of Drydock's in it yet" if self._bucket.empty else "answers"
        if not self._writes:
            return f"{there}; only read"
        return f"{there}; written to as {KEY}:{self._signer.id}" if self._signer else f"{there}; {NO_KEY}"

    def find(self, stage: str, key: str) -> Entry | None:
        """The entry of a key, if a trusted signer signed it."""
        if key not in self._entries and key not in self._missing:
            entry = self._cache.entry(stage, key, self._trusted) or self._ask(stage, key)
            if entry is None:
                self._missing.add(key)
            else:
                self._entries[key] = entry
                if not entry.in_memory:
                    self._there.add(entry.digest)
                    self._expect(entry.digest)
        return self._entries.get(key)

    def knows(self, digest: str) -> bool:
        """Whether an object is known to be there; sends no request."""
        return not self._bucket.off and digest in self._there and digest not in self._damaged

    def has(self, digest: str) -> bool:
        """Whether an object is there."""
        if not self._bucket.off and digest not in self._damaged and self.listing(digest) is not None:
            self._there.add(digest)
        return self.knows(digest)

    def listing(self, digest: str) -> Listing | None:
        """The listing of an object; None where it cannot be read."""
        if digest not in self._listings:
            listing = self._cache.listing(digest)
            if listing is None and not self._bucket.off:
                coming = self._coming.pop(digest, None) or self._bucket.loop.start(self._read_manifest(digest))
                listing = self._answer(coming)
            if listing is None:
                self._damaged.add(digest)
                if not self._bucket.off:
                    self._forget(digest)
            self._listings[digest] = listing
        return self._listings[digest]

    def fetch(self, digest: str, folder: Path) -> None:
        """Writes an object's files into an empty folder, verified. Raises Damaged, and OSError of the folder."""
        if (listing := self.listing(digest)) is None or self._bucket.off:
            raise Damaged(digest)
        began = time.monotonic()
        progress = Progress(self._bucket, sum(f.size for f in listing.files), "downloaded")
        try:
            self._bucket.loop.run(self._download(listing.files, folder), progress.tick)
        except Altered as e:
            self._damaged.add(digest)
            self._forget(digest)
            log.warning("artifact %s in %s is damaged: not used, built here instead", digest[:12], self._place)
            raise Damaged(digest) from e
        except Unavailable as e:
            self._give_up(e, began)
            raise Damaged(digest) from e

    def offer(self, entry: Entry, folder: Path | None, files: Sequence[FileRecord]) -> None:
        """Uploads a result in the background, unless it is known to be there."""
        unavailable = self._bucket.off or self._bucket.closed
        if not self._writes or unavailable or self._cache.has_entry(entry.key_document["stage"], entry.key):
            return
        if self._uploads is None:
            self._say(f"nothing is put into {self._place}: {NO_KEY}", "python -m pipeline.trust, or remote.write=false")
        else:
            self._uploads.add(entry, folder, files)

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Surrounds a run: at its end, every offered result is there, or a message says why not. Ctrl-C ends that."""
        self._in_session = True
        try:
            yield
        except Exception:
            self._finish()
            raise
        except BaseException:
            if self._uploads is not None:
                self._uploads.cancel()
            raise
        finally:
            self._in_session = False
        self._finish()

    def _finish(self) -> None:
        self._in_session = False
        if self._uploads is not None:
            self._uploads.finish(self._place)
        self.tell_passed_over()

    def tell_passed_over(self) -> None:
        """Says at the end of a run how many entries were not trusted, whose they are, and what to type."""
        counts = Counter(self._passed_over.values())
        if counts and not self._in_session:
            self._passed_over.clear()
            whose = listed(f"{count} {'of ' if name.startswith(KEY) else ''}{name}" for name, count in counts.items())
            keys = ",".join(name for name in counts if name.startswith(KEY))
            way = f"'trust=[{keys}]', if what they write may decide what you deliver" if keys else ""
            what = f"results in {self._place} are not trusted and are passed over: {whose}"
            log.warning("%s", Problem(what, command=way))

    def why_missed(self, key: str) -> str:
        """Why an entry of a key is there and is not used; empty where there is none."""
        whose = self._passed_over.get(key, "")
        return f"there is one in the remote {_by(whose)}" if whose else ""

    @property
    def _place(self) -> str:
        return f"remote={self._bucket.address}"

    def _ask(self, stage: str, key: str) -> Entry | None:
        """The entry of a key, read from the bucket itself."""
        if self._bucket.off:
            return None
        return self._answer(self._bucket.loop.start(self._look_up(stage, key)))

    async def _look_up(self, stage: str, key: str) -> Entry | None:
        name = names.action_name(stage, key)
        _, envelope = await together(self._bucket.check_format(), self._bucket.read_if_allowed(name))
        if envelope is None:
            if self._bucket.empty and not self._writes:
                self._say(
                    f"{self._place} has nothing of Drydock's in it", "remote=URL as the one who writes there has it"
                )
            return None
        try:
            return self._verified(stage, key, envelope)
        except NotTrusted as e:
            whose = e.whose
        beside = [names.action_name(stage, key, signer) for signer in sorted(self._trusted)]
        for other in await together(*map(self._bucket.read_if_allowed, beside)):
            with contextlib.suppress(NotTrusted):
                if other is not None and (entry := self._verified(stage, key, other)) is not None:
                    return entry
        self._passed_over[key] = whose
        return None

    def _verified(self, stage: str, key: str, envelope: str) -> Entry | None:
        """The verified entry in an envelope, which is then cached. Raises NotTrusted."""
        entry = verified(envelope, key, self._trusted)
        if entry is not None:
            self._cache.keep_entry(stage, key, envelope)
        return entry

    def _forget(self, digest: str) -> None:
        """Removes an object that cannot be read from the cache: its rebuilt copy is then uploaded, which repairs it."""
        self._cache.forget(digest, [entry for entry in self._entries.values() if entry.digest == digest])

    def _expect(self, digest: str) -> None:
        """Begins to read a manifest; `listing` waits for it."""
        expected = digest in self._listings or digest in self._coming or self._cache.has_listing(digest)
        if not expected and not self._bucket.off:
            self._coming[digest] = self._bucket.loop.start(self._read_manifest(digest))

    async def _read_manifest(self, digest: str) -> Listing | None:
        text = await self._bucket.read_if_allowed(names.manifest_name(digest)) or ""
        if (listing := names.parsed_manifest(text, digest)) is not None:
            self._cache.keep_manifest(digest, text)
        return listing

    def _answer(self, coming: Future[T | None]) -> T | None:
        """A small answer, or None. A bucket that fails, or takes too long in all, gets no more requests."""
        began = time.monotonic()
        try:
            answer = self._bucket.loop.wait(coming)
        except Unavailable as e:
            self._give_up(e, began)
            return None
        self._bucket.waited += time.monotonic() - began
        if self._bucket.waited > WAITED_SECONDS:
            self._give_up(Unavailable("it is too slow"), time.monotonic() - self._bucket.waited)
        return answer

    async def _download(self, files: Sequence[FileRecord], folder: Path) -> None:
        for file in files:
            (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        limit = limit_of(sum(f.size for f in files))
        loads = together(*(self._bucket.download(names.file_name(f.sha256), folder / f.path, f) for f in files))
        try:
            await asyncio.wait_for(loads, limit)
        except TimeoutError:
            raise Unavailable(f"a download was not done within {limit:.0f} s") from None

    def _give_up(self, error: Unavailable, began: float) -> None:
        """Sends the bucket no more requests in this process, and says so once."""
        if not self._bucket.off:
            self._bucket.why_off = error.why
            what = f"{self._place} is not asked from now on: {error.why}; it cost {time.monotonic() - began:.1f} s"
            self._say(what, _advice(self._bucket.address, error))

    def _say(self, what: str, command: str) -> None:
        """Logs a message about the bucket, once in a process."""
        if what not in self._bucket.cautions:
            self._bucket.cautions.add(what)
            log.warning("%s", Problem(what, command=command))


def _advice(address: Address, error: Unavailable) -> str:
    """What to type when a bucket does not answer."""
    if "TimeTooSkewed" in error.why:
        return "set the clock of this machine, or remote=null"
    if error.denied:
        return "credentials that may read and list there (s3:GetObject, s3:ListBucket), or remote=null"
    if address.scheme == "s3" and not any(name in os.environ for name in CREDENTIALS):
        return "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, which are not set; or remote=null to go without it"
    return "remote=null to go without it"


def _by(whose: str) -> str:
    return f"of {whose}, who is not trusted" if whose.startswith(KEY) else f"that is {whose}"
