"""A record in an ONNX file: an entry of ModelProto.metadata_props, appended to the file.

Source: onnx/onnx.proto (ModelProto, StringStringEntryProto).
"""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.artifact import FILES, RECORD, Kind
from pipeline.record import protobuf

METADATA_PROPS = 14  # in ModelProto


class Onnx:
    """ModelProto.metadata_props; see `pipeline.record.carrier.Carrier`."""

    FILE = FILES[Kind.ONNX]
    SUFFIX = ".onnx"

    @staticmethod
    def put(path: Path, text: str) -> None:
        with path.open("ab") as f:
            f.write(protobuf.delimited(METADATA_PROPS, protobuf.entry(RECORD, text)))

    @staticmethod
    def get(path: Path) -> str | None:
        with path.open("rb") as f:
            found = _find(protobuf.File(f, path, "ONNX file"))
            return found[1] if found else None

    @staticmethod
    def bare(path: Path) -> str:
        with path.open("rb") as f:
            file = protobuf.File(f, path, "ONNX file")
            found = _find(file)
            return file.without(found[0] if found else None)


def _find(file: protobuf.File) -> tuple[protobuf.Field, str] | None:
    """The last entry under our name, and its text."""
    found = None
    for field in file.fields(0, os.fstat(file.stream.fileno()).st_size):
        if field.number == METADATA_PROPS and (text := file.text(field, RECORD)) is not None:
            found = (field, text)
    return found
