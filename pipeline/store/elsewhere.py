"""The interface of a remote place that a store searches last, since a request costs time. pipeline/remote is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.store.actions import Entry
from pipeline.store.files import FileRecord


@dataclass(frozen=True)
class Listing:
    """What is known of an object without its files.

    Args:
        files: Their records.
        described: The content of its artifact.json: kind and facts.
    """

    files: Sequence[FileRecord]
    described: Mapping[str, Any]


class Elsewhere(Protocol):
    """A remote place. What it cannot answer counts as a miss and raises nothing."""

    def find(self, stage: str, key: str) -> Entry | None:
        """The entry of a key, if a trusted owner wrote it."""

    def knows(self, digest: str) -> bool:
        """Whether an object is known to be there; sends no request."""

    def has(self, digest: str) -> bool:
        """Whether an object is there."""

    def listing(self, digest: str) -> Listing | None:
        """The files and the description of an object; None where they cannot be read."""

    def fetch(self, digest: str, folder: Path) -> None:
        """Writes an object's files into an empty folder, verified. Raises Damaged, and OSError of the folder."""

    def offer(self, entry: Entry, folder: Path | None, files: Sequence[FileRecord]) -> None:
        """Uploads a result in the background; the folder is None for one that has no files of its own."""

    def session(self) -> AbstractContextManager[None]:
        """Surrounds a run: at its end, every offered result is there, or a message says why not."""

    def tell_passed_over(self) -> None:
        """Says how many entries were not trusted so far, whose they are, and what to type."""

    def why_missed(self, key: str) -> str:
        """Why an entry of a key is there and is not used; empty where there is none."""
