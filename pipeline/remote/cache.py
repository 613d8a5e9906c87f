"""A cache of a bucket beside the local store: a warm run sends no request, and works without the network.

Envelopes are kept as they were read, so their signatures are verified in each run; manifests are verified by digest. A
cached envelope also shows that there is one in the bucket.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pipeline.remote import names
from pipeline.remote.address import Address
from pipeline.remote.signing import NotTrusted, verified
from pipeline.store import Entry
from pipeline.store.elsewhere import Listing
from pipeline.store.files import read_json
from pipeline.store.root import Root


class Cache:
    """The cache of one bucket.

    Args:
        root: The local store's folder.
        address: The bucket's address.
    """

    def __init__(self, root: Path, address: Address) -> None:
        self._root = Root(root)
        self._folder = root / "remote" / hashlib.sha256(address.url.encode()).hexdigest()[:16]

    def entry(self, stage: str, key: str, trusted: Collection[str]) -> Entry | None:
        """The entry of a key; None where the cache has none of a trusted signer."""
        read = read_json(self._action(stage, key))
        with contextlib.suppress(NotTrusted):
            return verified(json.dumps(read), key, trusted) if isinstance(read, dict) else None
        return None

    def has_entry(self, stage: str, key: str) -> bool:
        """Whether an entry of a key was read from the bucket, or written to it."""
        return self._action(stage, key).exists()

    def keep_entry(self, stage: str, key: str, envelope: str) -> None:
        """Caches the envelope of a key, if it can."""
        self._write(self._action(stage, key), envelope)

    def listing(self, digest: str) -> Listing | None:
        """The listing of an object; None where it is not cached."""
        return names.read_manifest(read_json(self._manifest(digest)), digest)

    def has_listing(self, digest: str) -> bool:
        """Whether a manifest is cached, valid or not."""
        return self._manifest(digest).exists()

    def keep_manifest(self, digest: str, manifest: str) -> None:
        """Caches the manifest of an object, if it can."""
        self._write(self._manifest(digest), manifest)

    def forget(self, digest: str, entries: Collection[Entry]) -> None:
        """Removes an object and the given entries that lead to it from the cache."""
        paths = [self._action(entry.key_document["stage"], entry.key) for entry in entries]
        for path in (*paths, self._manifest(digest)):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _action(self, stage: str, key: str) -> Path:
        return self._folder / "actions" / stage / f"{key}.json"

    def _manifest(self, digest: str) -> Path:
        return self._folder / "objects" / f"{digest}.json"

    def _write(self, path: Path, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the cache only saves time
            value: Any = json.loads(text)
            self._root.write(path, value)
