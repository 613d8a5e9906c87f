"""A record in an ONNX file: an entry of ModelProto.metadata_props, appended to the file.

Serialised messages concatenate: fields that repeat may come in any place, so adding one entry at the end leaves every
byte of the graph as it was checked. Sources: https://protobuf.dev/programming-guides/encoding/ (wire types, "Last One
Wins" and merging) and onnx/onnx.proto (ModelProto, StringStringEntryProto).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.artifact import FILES, RECORD, Kind

METADATA_PROPS = 14  # in ModelProto
KEY, VALUE = 1, 2  # in StringStringEntryProto
VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
# No entry of ours is longer; an entry that is belongs to somebody else.
LONGEST = 2**24


@dataclass(frozen=True)
class _Field:
    """One field of a message: its number, where it begins in the file, and where its payload begins and ends."""

    number: int
    start: int
    payload: int
    end: int


class Onnx:
    """ModelProto.metadata_props; see `pipeline.record.carrier.Carrier`."""

    FILE = FILES[Kind.ONNX]
    SUFFIX = ".onnx"

    @staticmethod
    def put(path: Path, text: str) -> None:
        entry = _delimited(KEY, RECORD.encode()) + _delimited(VALUE, text.encode())
        with path.open("ab") as f:
            f.write(_delimited(METADATA_PROPS, entry))

    @staticmethod
    def get(path: Path) -> str | None:
        with path.open("rb") as f:
            found = _find(f, path)
            return found[1] if found else None

    @staticmethod
    def bare(path: Path) -> str:
        digest = hashlib.sha256()
        with path.open("rb") as f:
            found = _find(f, path)
            cut = found[0] if found else None
            f.seek(0)
            digest.update(f.read() if cut is None else f.read(cut.start))
            if cut is not None:
                f.seek(cut.end)
                digest.update(f.read())
        return digest.hexdigest()


def _find(f: BinaryIO, path: Path) -> tuple[_Field, str] | None:
    """The last entry under our name, and its text."""
    found = None
    size = os.fstat(f.fileno()).st_size
    for field in _fields(f, 0, size, path):
        if field.number == METADATA_PROPS and field.end - field.payload <= LONGEST:
            inside = {i.number: _read(f, i) for i in list(_fields(f, field.payload, field.end, path))}
            if inside.get(KEY) == RECORD.encode():
                found = (field, inside.get(VALUE, b"").decode(errors="replace"))
    return found


def _fields(f: BinaryIO, start: int, end: int, path: Path) -> Iterator[_Field]:
    """The fields of the message that lies between two places of a file; payloads are skipped, not read."""
    at = start
    while at < end:
        tag, payload = _varint(f, at, path)
        kind = tag & 7
        if kind == LENGTH_DELIMITED:
            length, payload = _varint(f, payload, path)
            after = payload + length
        elif kind == VARINT:
            _, after = _varint(f, payload, path)
        elif kind in (FIXED64, FIXED32):
            after = payload + (8 if kind == FIXED64 else 4)
        else:
            raise ValueError(f"{path} is no ONNX file: wire type {kind} at byte {at}")
        if after > end:
            raise ValueError(f"{path} is no whole ONNX file: a field at byte {at} ends beyond it")
        yield _Field(tag >> 3, at, payload, after)
        at = after


def _varint(f: BinaryIO, at: int, path: Path) -> tuple[int, int]:
    """A base-128 number, the least significant group first, and the place after it."""
    f.seek(at)
    value = 0
    for i, byte in enumerate(f.read(10)):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise ValueError(f"{path} is no ONNX file: no number at byte {at}")


def _read(f: BinaryIO, field: _Field) -> bytes:
    f.seek(field.payload)
    return f.read(field.end - field.payload)


def _delimited(number: int, payload: bytes) -> bytes:
    return _encoded(number << 3 | LENGTH_DELIMITED) + _encoded(len(payload)) + payload


def _encoded(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
