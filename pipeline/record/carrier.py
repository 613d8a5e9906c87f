"""What a format must offer to carry a record: the class `Record` of the part that its `format.py` calls `record`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol, cast

from pipeline import formats


class Carrier(Protocol):
    """One format. Records are put in and taken out without the format's own library: a warm run imports none."""

    FILE: str  # which of a stored artifact's files carries it, by its path there
    SUFFIX: str  # the suffix of the delivered model: of that file, or of the folder that it is in
    BESIDE: Sequence[str]  # suffixes of the model's other files, which carry none and lie beside it

    @staticmethod
    def put(path: Path, text: str) -> None:
        """Adds a record to a file that has none, and changes nothing else in it. Raises OSError, ValueError."""

    @staticmethod
    def get(path: Path) -> str | None:
        """The record in a file; None when it has none. Raises OSError, and ValueError for a file of no such format."""

    @staticmethod
    def bare(path: Path) -> str:
        """The SHA-256 of the file as it was before the record was put in. Raises OSError, ValueError."""


def of_kind(kind: str) -> Carrier | None:
    """The carrier of a kind of artifact; None where its files carry no record."""
    return cast("Carrier", formats.part(kind, "record").Record) if formats.format_of(kind).record else None


def carriers() -> list[Carrier]:
    """The carriers of all formats that have one."""
    return [part.Record for part in formats.parts("record")]


def holder(form: Carrier, model: Path) -> Path:
    """The file that carries a model's record: the model, or the file in it where the model is a folder."""
    return model.joinpath(*PurePosixPath(form.FILE).parts[1:])


def of_file(path: Path) -> Carrier | None:
    """The carrier of a model file, by its suffix."""
    return next((c for c in carriers() if path.suffix == c.SUFFIX), None)


def standing_for(path: Path) -> Path:
    """The path that represents a model's file: the file beside it with the record, the folder around it, or itself."""
    for form in carriers():
        if path.suffix in form.BESIDE and (beside := path.with_suffix(form.SUFFIX)).is_file():
            return beside
        if len(PurePosixPath(form.FILE).parts) > 1:
            for parent in path.absolute().parents:
                if parent.suffix == form.SUFFIX:
                    return parent
    return path
