"""Fields of a serialised protobuf message, read from a file without the message's own library, and written.

Serialised messages can be concatenated: a repeated field may stand anywhere, and an inner message that comes twice is
merged. So an entry can be appended, and every byte before it stays as it was checked.
Source: https://protobuf.dev/programming-guides/encoding/ (wire types, "Last One Wins" and merging).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

from pipeline.artifact import RECORD

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
KEY, VALUE = 1, 2  # the fields of a map's entry, and of messages built like one
# No entry of ours is longer; a longer one belongs to somebody else.
LONGEST = 2**24


@dataclass(frozen=True)
class Field:
    """One field of a message: its number, where it begins in the file, and where its payload begins and ends."""

    number: int
    start: int
    payload: int
    end: int


@dataclass(frozen=True)
class File:
    """An open file that holds one message.

    Args:
        stream: The file.
        path: Its path, for errors.
        form: What it should be, such as "ONNX file", for errors.
    """

    stream: BinaryIO
    path: Path
    form: str

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """The fields of the message between two offsets; payloads are skipped, not read. Raises ValueError."""
        at = start
        while at < end:
            tag, payload = self._varint(at)
            kind = tag & 7
            if kind == LENGTH_DELIMITED:
                length, payload = self._varint(payload)
                after = payload + length
            elif kind == VARINT:
                _, after = self._varint(payload)
            elif kind in (FIXED64, FIXED32):
                after = payload + (8 if kind == FIXED64 else 4)
            else:
                raise ValueError(f"{self.path} is no {self.form}: wire type {kind} at byte {at}")
            if after > end:
                raise ValueError(f"{self.path} is no whole {self.form}: a field at byte {at} ends beyond it")
            yield Field(tag >> 3, at, payload, after)
            at = after

    def text(self, entry: Field, key: str) -> str | None:
        """The value of an entry; None where its key is another."""
        if entry.end - entry.payload > LONGEST:
            return None
        inside = {i.number: self._read(i) for i in list(self.fields(entry.payload, entry.end))}
        return inside.get(VALUE, b"").decode(errors="replace") if inside.get(KEY) == key.encode() else None

    def without(self, cut: Field | None) -> str:
        """The SHA-256 of the file without one field."""
        digest = hashlib.sha256()
        self.stream.seek(0)
        digest.update(self.stream.read() if cut is None else self.stream.read(cut.start))
        if cut is not None:
            self.stream.seek(cut.end)
            digest.update(self.stream.read())
        return digest.hexdigest()

    def _varint(self, at: int) -> tuple[int, int]:
        """A base-128 number, the least significant group first, and the offset after it."""
        self.stream.seek(at)
        value = 0
        for i, byte in enumerate(self.stream.read(10)):
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                return value, at + i + 1
        raise ValueError(f"{self.path} is no {self.form}: no number at byte {at}")

    def _read(self, field: Field) -> bytes:
        self.stream.seek(field.payload)
        return self.stream.read(field.end - field.payload)


class ProtobufRecord:
    """A record in a message, as an entry appended to its file; see `pipeline.record.carrier.Carrier`.

    Attributes:
        FORM: What the file is, such as "ONNX file", for errors.
        PLACE: The numbers of the fields that lead to the entries, from the outermost.
    """

    FORM: ClassVar[str]
    PLACE: ClassVar[tuple[int, ...]]
    BESIDE: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def put(cls, path: Path, text: str) -> None:
        added = entry(RECORD, text)
        for number in reversed(cls.PLACE):
            added = delimited(number, added)
        with path.open("ab") as f:
            f.write(added)

    @classmethod
    def get(cls, path: Path) -> str | None:
        with path.open("rb") as f:
            record = cls._find(File(f, path, cls.FORM))
            return record[1] if record else None

    @classmethod
    def bare(cls, path: Path) -> str:
        with path.open("rb") as f:
            file = File(f, path, cls.FORM)
            record = cls._find(file)
            return file.without(record[0] if record else None)

    @classmethod
    def _find(cls, file: File) -> tuple[Field, str] | None:
        """The last of the outermost fields with an entry under our name in it, and the entry's text."""
        last = None
        for outer, inner in _at(file, 0, os.fstat(file.stream.fileno()).st_size, cls.PLACE):
            if (text := file.text(inner, RECORD)) is not None:
                last = (outer, text)
        return last


def _at(file: File, start: int, end: int, place: tuple[int, ...]) -> Iterator[tuple[Field, Field]]:
    """The fields at a place; before each, the outermost field that contains it."""
    for field in list(file.fields(start, end)):
        if field.number == place[0]:
            inner = _at(file, field.payload, field.end, place[1:]) if place[1:] else [(field, field)]
            yield from ((field, innermost) for _, innermost in inner)


def entry(key: str, value: str) -> bytes:
    """The payload of an entry."""
    return delimited(KEY, key.encode()) + delimited(VALUE, value.encode())


def delimited(number: int, payload: bytes) -> bytes:
    """A field that holds bytes, text or a message."""
    return _encoded(number << 3 | LENGTH_DELIMITED) + _encoded(len(payload)) + payload


def _encoded(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
