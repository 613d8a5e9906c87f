"""What a store asks of a place that it looks into last, which costs more than a look: pipeline/remote is one."""

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
        described: What its artifact.json says: kind and facts.
    """

    files: Sequence[FileRecord]
    described: Mapping[str, Any]


class Elsewhere(Protocol):
    """Such a place. What it cannot answer is a miss; it raises nothing for that."""

    def find(self, stage: str, key: str) -> Entry | None:
        """The entry of a key, of somebody who is trusted."""

    def knows(self, digest: str) -> bool:
        """Whether an object is known to be there; nobody is asked."""

    def has(self, digest: str) -> bool:
        """Whether an object is there."""

    def listing(self, digest: str) -> Listing | None:
        """What an object consists of; None where it cannot be had."""

    def fetch(self, digest: str, folder: Path) -> None:
        """Writes an object's files into an empty folder, verified. Raises Damaged, and OSError of the folder."""

    def offer(self, entry: Entry, folder: Path | None, files: Sequence[FileRecord]) -> None:
        """Has a result put there in the background; the folder is None for one that has no files of its own."""

    def session(self) -> AbstractContextManager[None]:
        """Surrounds a run: at its end, what was offered is there, or it is said why not."""

    def tell_passed_over(self) -> None:
        """Says how many entries of whom were not trusted so far, and what to type."""

    def why_missed(self, key: str) -> str:
        """Why there is an entry of a key that does not count; empty where there is none."""
