"""A record in a Core ML package: an entry of its model's metadata, appended to model.mlmodel.

Source: coremltools' Model.proto (Model, ModelDescription, Metadata). A description that comes twice is merged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.artifact import FILES, RECORD, Kind
from pipeline.record import protobuf

# Model.description, its metadata, and the map of what others may add to that.
PLACE = (2, 100, 100)


class Package:
    """Metadata.userDefined; see `pipeline.record.carrier.Carrier`."""

    FILE = f"{FILES[Kind.COREML]}/Data/com.apple.CoreML/model.mlmodel"
    SUFFIX = ".mlpackage"

    @staticmethod
    def put(path: Path, text: str) -> None:
        added = protobuf.entry(RECORD, text)
        for number in reversed(PLACE):
            added = protobuf.delimited(number, added)
        with path.open("ab") as f:
            f.write(added)

    @staticmethod
    def get(path: Path) -> str | None:
        with path.open("rb") as f:
            found = _find(protobuf.File(f, path, "Core ML model"))
            return found[1] if found else None

    @staticmethod
    def bare(path: Path) -> str:
        with path.open("rb") as f:
            file = protobuf.File(f, path, "Core ML model")
            found = _find(file)
            return file.without(found[0] if found else None)


def _find(file: protobuf.File) -> tuple[protobuf.Field, str] | None:
    """The last description with an entry under our name, and the entry's text."""
    found = None
    for outer, entry in _entries(file, 0, os.fstat(file.stream.fileno()).st_size, PLACE):
        if (text := file.text(entry, RECORD)) is not None:
            found = (outer, text)
    return found


def _entries(
    file: protobuf.File, start: int, end: int, place: tuple[int, ...]
) -> Iterator[tuple[protobuf.Field, protobuf.Field]]:
    """The fields at a place, each with the outermost field that it is in."""
    for field in list(file.fields(start, end)):
        if field.number == place[0]:
            inner = _entries(file, field.payload, field.end, place[1:]) if place[1:] else [(field, field)]
            yield from ((field, entry) for _, entry in inner)
