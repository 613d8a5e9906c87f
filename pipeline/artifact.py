"""What passes between stages: an artifact of a kind, either a folder of files or an object in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

from pipeline import disk
from pipeline.formats import Kind as Kind
from pipeline.notes import Facts as Facts
from pipeline.notes import Notes as Notes

# The name under which a model file carries its record; see pipeline/record/.
RECORD = "drydock.record"


def carried(before: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a result: those of its first input, overridden by its own; None in its own removes a fact."""
    return {name: fact for name, fact in {**before, **own}.items() if fact is not None}


@dataclass(frozen=True)
class Origin:
    """Where an artifact comes from in this run's graph.

    Args:
        stage: The name of the stage that built it.
        source: Opens that stage's input, the artifact of its first port, which has an origin itself; None for a stage
            without ports.
    """

    stage: str
    source: Callable[[], Artifact] | None


@dataclass(frozen=True)
class Artifact:
    """A stage's result.

    Args:
        kind: What it is.
        folder: Where its files are, read-only once published. None for an artifact that lives in memory.
        facts: Plain JSON that travels with the artifact and is part of its content, such as where its weights
            came from. The runner adds those of the first input, so a stage states only its own; None removes a fact
            that is no longer true. See `carried`.
        notes: Plain JSON about this run of this stage, such as parity figures; not part of the content. See notes.py.
        live: The object itself while it is in memory, so that the next stage need not read it again.
        digest: The digest of the content; set by the runner.
        origin: Where it comes from; set by the runner. Only for the explanation of a failure: no verdict and no
            content may depend on it.
        record: What it was built from and which checks it passed, see pipeline/record/; set by the runner for a stage
            that delivers.
    """

    kind: Kind
    folder: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)
    live: Any = None
    digest: str = ""
    origin: Origin | None = None
    record: Mapping[str, Any] | None = None

    @property
    def file(self) -> Path:
        """The file that a reader of this kind opens."""
        if self.folder is None:
            raise ValueError(f"a {self.kind} artifact has no file: it lives in memory")
        return self.folder / self.kind.file

    def share(self, name: str, folder: Path) -> None:
        """Shares a file with another result, by a hard link, which takes no space and is not hashed again.

        The file is copied where the system makes no link: another user's file, another disk.

        Args:
            name: The name of the file, in both results.
            folder: The folder of the other result.

        Raises OSError.
        """
        assert self.folder is not None
        if not disk.link(self.folder / name, folder / name):
            disk.copy(self.folder / name, folder / name)

    def copy(self, name: str, to: Path) -> None:
        """Copies a file of this artifact, for somebody who may change it. Raises OSError.

        Args:
            name: The file's path in its folder.
            to: The copy.
        """
        assert self.folder is not None
        disk.copy(self.folder / name, to)

    def noting(self, **notes: Unpack[Notes]) -> Artifact:
        """The same artifact with other notes: the result of a stage that changes nothing."""
        return replace(self, notes=notes)
