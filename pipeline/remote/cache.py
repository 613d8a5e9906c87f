"""What was read of a bucket, kept beside the local store: a warm run asks nothing, and works without the network.

Envelopes are kept as they were read, so their signatures are looked at in each run; manifests vouch for themselves. An
envelope that is kept says too that there is one in the bucket.
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
    """What is kept of one bucket.

    Args:
        root: The local store's folder.
        address: Of the bucket.
    """

    def __init__(self, root: Path, address: Address) -> None:
        self._root = Root(root)
        self._folder = root / "remote" / hashlib.sha256(address.url.encode()).hexdigest()[:16]

    def entry(self, stage: str, key: str, trusted: Collection[str]) -> Entry | None:
        """The entry of a key; None where none of a trusted signer is kept."""
        read = read_json(self._action(stage, key))
        with contextlib.suppress(NotTrusted):
            return verified(json.dumps(read), key, trusted) if isinstance(read, dict) else None
        return None

    def has_entry(self, stage: str, key: str) -> bool:
        """Whether an entry of a key was read in the bucket, or put there."""
        return self._action(stage, key).exists()

    def keep_entry(self, stage: str, key: str, envelope: str) -> None:
        """Keeps the envelope of a key, if that can be."""
        self._write(self._action(stage, key), envelope)

    def listing(self, digest: str) -> Listing | None:
        """What an object consists of; None where that is not kept."""
        return names.read_manifest(read_json(self._manifest(digest)), digest)

    def has_listing(self, digest: str) -> bool:
        """Whether a manifest is kept, of whatever worth."""
        return self._manifest(digest).exists()

    def keep_manifest(self, digest: str, manifest: str) -> None:
        """Keeps the manifest of an object, if that can be."""
        self._write(self._manifest(digest), manifest)

    def forget(self, digest: str, entries: Collection[Entry]) -> None:
        """Keeps nothing of an object and of these entries that lead to it."""
        paths = [self._action(entry.key_document["stage"], entry.key) for entry in entries]
        for path in (*paths, self._manifest(digest)):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _action(self, stage: str, key: str) -> Path:
        return self._folder / "actions" / stage / f"{key}.json"

    def _manifest(self, digest: str) -> Path:
        return self._folder / "objects" / f"{digest}.json"

    def _write(self, path: Path, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # it saves time and nothing else
            value: Any = json.loads(text)
            self._root.write(path, value)
