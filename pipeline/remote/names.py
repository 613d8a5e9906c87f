"""Names in a bucket, and the objects beside entries: manifests and the mark of the format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from pipeline.store.elsewhere import Listing
from pipeline.store.files import FileRecord, tree_digest
from pipeline.store.store import FACTS

FORMAT_NAME = "v1/format.json"
FORMAT = {"format": 1, "digest": "sha256"}
# How many files of one object are read.
MOST_FILES = 100_000


def file_name(sha256: str) -> str:
    """The name of a file's content."""
    return f"v1/files/{sha256}"


def manifest_name(digest: str) -> str:
    """The name of an object's manifest."""
    return f"v1/objects/{digest}.json"


def action_name(stage: str, key: str, signer: str = "") -> str:
    """The name of a key's entry; with a signer, the name of theirs when the plain name is another signer's."""
    return f"v1/actions/{stage}/{key}.{signer}.json" if signer else f"v1/actions/{stage}/{key}.json"


def manifest(files: Sequence[FileRecord], artifact: str) -> dict[str, Any]:
    """The manifest of an object: its files, and the text of its artifact.json."""
    return {"files": [vars(f) for f in files], "artifact": artifact}


def parsed_manifest(text: str, digest: str) -> Listing | None:
    """The listing in the text of a manifest; see `read_manifest`."""
    try:
        return read_manifest(json.loads(text), digest)
    except (ValueError, RecursionError):
        return None


def read_manifest(read: Any, digest: str) -> Listing | None:
    """The listing in a manifest, whoever wrote it; None where it is not that of the object with this digest."""
    try:
        files = [FileRecord(str(f["path"]), int(f["size"]), str(f["sha256"])) for f in read["files"][:MOST_FILES]]
        text, listed = str(read["artifact"]), {f.path: f.sha256 for f in files}
        if tree_digest(files) != digest or not all(map(_plain, files)) or len(listed) != len(files):
            return None
        if listed.get(FACTS) != hashlib.sha256(text.encode()).hexdigest():
            return None
        described = json.loads(text)
        return Listing(files, {"kind": str(described["kind"]), "facts": dict(described["facts"])})
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _plain(file: FileRecord) -> bool:
    """Whether the path of a file stays inside its object's folder."""
    path = PurePosixPath(file.path)
    inside = not path.is_absolute() and ".." not in path.parts and path.as_posix() == file.path and file.path != "."
    return inside and "\0" not in file.path and file.size >= 0 and len(file.sha256) == 64 and file.sha256.isalnum()
