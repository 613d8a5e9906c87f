"""Pins: results of a run, or named by digest, that no command removes until they are unpinned.

pins/<id>.json     {"of": the run or the digest, "digests": […], "since": the time}
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.store.files import read_owned
from pipeline.store.root import Root

PLACE = "pins"


@dataclass(frozen=True)
class Pin:
    """One pin.

    Args:
        path: Its file.
        of: The path of a run's folder, or a digest.
        digests: The results.
        since: The time of pinning, ISO 8601.
        owner: The number of the user who pinned.
    """

    path: Path
    of: str
    digests: Sequence[str]
    since: str
    owner: int


def add(root: Path, of: str, digests: Collection[str]) -> None:
    """Pins results. Raises OSError."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    Root(root).write(_path(root, of), {"of": of, "digests": sorted(digests), "since": since}, durable=True)


def remove(root: Path, of: str) -> bool:
    """Removes a pin. Returns whether there was one. Raises OSError."""
    path = _path(root, of)
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


def read(root: Path) -> list[Pin]:
    """Every pin that can be read, the oldest first."""
    found = []
    for path in (root / PLACE).glob("[0-9a-f]*.json"):
        content, at = read_owned(path)
        if at is not None and content is not None and _is_pin(content):
            found.append(Pin(path, content["of"], content["digests"], content["since"], at.st_uid))
    return sorted(found, key=lambda pin: (pin.since, pin.of))


def digests(root: Path) -> set[str]:
    """Every result that is pinned."""
    return {digest for pin in read(root) for digest in pin.digests}


def _is_pin(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and all(isinstance(content.get(name), str) for name in ("of", "since"))
        and isinstance(content.get("digests"), list)
        and all(isinstance(digest, str) for digest in content["digests"])
    )


def _path(root: Path, of: str) -> Path:
    return root / PLACE / f"{hashlib.sha256(of.encode(errors='surrogateescape')).hexdigest()[:16]}.json"
