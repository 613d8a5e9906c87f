"""The progress and the result of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipeline.notes import Notes
from pipeline.planning.plan import Step
from pipeline.planning.ways import Served


@dataclass(frozen=True)
class Outcome:
    """The outcome of one stage in a run.

    Args:
        name: Its name in the graph.
        how: "built", "hit" (a stage in memory too, when nothing after it must run) or "delivered".
        key: Its key, 64 hex digits.
        digest: Its content digest; None for a stage in memory.
        size: Bytes of its files, of a delivery those of the artifact as it was checked; 0 in memory.
        seconds: How long the build took: now if it was built, in the earlier run if it was a hit.
        peak_bytes: Peak resident memory while it was built; None for a hit.
        notes: The stage's notes about its run.
        facts: Properties stored with its result.
    """

    name: str
    how: str
    key: str | None
    digest: str | None = None
    size: int = 0
    seconds: float = 0.0
    peak_bytes: int | None = None
    notes: Notes = field(default_factory=Notes)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Args:
        outcomes: One for each stage, in order.
        delivered: The delivered file; None when no stage delivers.
        record: How it was made and which checks it passed; see pipeline/record/lineage.py.
        served: The alternative that worked instead of the choice; None where the choice worked.
    """

    outcomes: Sequence[Outcome]
    delivered: Path | None
    record: Mapping[str, Any] | None = None
    served: Served | None = None


class Listener(Protocol):
    """Receives the progress of a run."""

    def planned(self, steps: Sequence[Step]) -> None: ...

    def started(self, name: str) -> None: ...

    def finished(self, outcome: Outcome) -> None: ...
