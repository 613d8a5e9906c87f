"""Reads arrays of a MIL weight file, storage format version 2, lazily.

A file starts with a header of 64 bytes: the number of arrays, and the version. A program refers to an array's metadata,
64 bytes on a boundary of 64: a sentinel, the type, the number of bytes, their offset, and the number of unused bits in
the last byte. Numbers are little-endian. Types of less than a byte are packed, the first element in the lowest bits.
Source: the MILBlob format of https://github.com/apple/coremltools, mlmodel/src/MILBlob/Blob/StorageFormat.hpp.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from stages.coreml.mil.package import damaged

Array = np.ndarray[Any, Any]

HEADER, METADATA = struct.Struct("<II"), struct.Struct("<IIQQQ")
RECORD = 64  # bytes of the header, and of each metadata record
VERSION, SENTINEL = 2, 0xDEADBEEF
# The format's enumeration of types.
TYPES = {
    1: "float16",
    2: "float32",
    3: "uint8",
    4: "int8",
    6: "int16",
    7: "uint16",
    8: "int4",
    9: "uint1",
    10: "uint2",
    11: "uint4",
    12: "uint3",
    13: "uint6",
    14: "int32",
    15: "uint32",
}
BITS = {"int4": 4, "uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6}


def read(path: Path, offset: int, dtype: str, shape: tuple[int, ...]) -> Array:
    """One array. Elements of less than a byte are returned as int8 or uint8.

    Args:
        path: The weight file.
        offset: The offset of the array's metadata, in bytes.
        dtype: Its type, as the program declares it.
        shape: Its shape, as the program declares it.

    Raises:
        StageError: Where the file does not match the program.
    """
    size = path.stat().st_size
    with path.open("rb") as f:
        header = f.read(HEADER.size)
        f.seek(offset)
        record = f.read(METADATA.size)
    if len(header) < HEADER.size or HEADER.unpack(header)[1] != VERSION:
        raise damaged(path, f"it is not a weight file of version {VERSION}")
    if offset < RECORD or offset + RECORD > size:
        raise damaged(path, f"the program looks for an array at byte {offset} of {size}")
    sentinel, kind, n_bytes, start, _ = METADATA.unpack(record)
    if sentinel != SENTINEL:
        raise damaged(path, f"there is no array at byte {offset}")
    if TYPES.get(kind) != dtype:
        raise damaged(path, f"the array at byte {offset} is {TYPES.get(kind, f'of type {kind}')}, not {dtype}")
    if n_bytes != byte_count(dtype, shape):
        raise damaged(path, f"the array at byte {offset} has {n_bytes} bytes, {byte_count(dtype, shape)} are expected")
    if start + n_bytes > size:
        raise damaged(path, f"the array at byte {offset} ends at byte {start + n_bytes} of {size}")
    if not n_bytes:
        return np.zeros(shape, numpy_type(dtype))
    if dtype in BITS:
        return unpacked(np.fromfile(path, np.uint8, n_bytes, offset=start), dtype, shape)
    # Copy-on-write: torch warns about read-only arrays.
    stored: Array = np.memmap(path, np.dtype(dtype).newbyteorder("<"), "c", start, shape)
    return stored


def byte_count(dtype: str, shape: tuple[int, ...]) -> int:
    """How many bytes an array takes in the file."""
    bits = BITS.get(dtype) or 8 * np.dtype(dtype).itemsize
    return -(-math.prod(shape) * bits // 8)


def numpy_type(dtype: str) -> str:
    """numpy's type for elements of a type."""
    if dtype not in BITS:
        return dtype
    return "int8" if dtype.startswith("int") else "uint8"


def unpacked(packed: Array, dtype: str, shape: tuple[int, ...]) -> Array:
    """Unpacks elements of less than a byte, from the lowest bits of the first byte up."""
    bits, count = BITS[dtype], math.prod(shape)
    single = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    values = (single << np.arange(bits, dtype=np.uint8)).sum(1, dtype=np.uint8)
    if dtype.startswith("int"):  # two's complement
        values = np.where(values >> (bits - 1), values.astype(np.int16) - (1 << bits), values).astype(np.int8)
    elements: Array = values.reshape(shape)
    return elements
