"""Recognises the format of a file that torch wrote, by its content; nothing in it is run."""

from __future__ import annotations

import os
import pickletools
import zipfile
from _compat_pickle import IMPORT_MAPPING  # Python 2's names of modules, which protocols below 3 still write
from enum import StrEnum
from typing import Any, BinaryIO


class Format(StrEnum):
    """The formats that torch writes."""

    TORCHSCRIPT = "TorchScript"
    PROGRAM = "ExportedProgram"
    PICKLE = "pickle"  # torch.save: a module, or a checkpoint
    SAFETENSORS = "safetensors"


# The modules that the pickle of a state dict names; anything else is a user's class.
TENSORS_ONLY = ("torch", "torch._utils", "torch._tensor", "torch.nn.parameter", "torch.storage", "collections")


def format_of(file: BinaryIO) -> Format:
    """The format, by the entries of the zip. Raises ValueError when it is none of these."""
    head, size = file.read(9), file.seek(0, os.SEEK_END)
    if head[8:] == b"{" and 2 <= int.from_bytes(head[:8], "little") < size:
        return Format.SAFETENSORS
    try:
        with zipfile.ZipFile(file) as archive:
            names = {n.partition("/")[2] for n in archive.namelist()}
            first = min((i.header_offset for i in archive.infolist()), default=0)
    except zipfile.BadZipFile as e:
        raise ValueError(f"no zip archive as torch writes them ({e})" if head else "an empty file") from e
    if first > 0:  # zipfile found the end of an inner archive instead of this one's
        raise ValueError("a zip archive whose end is missing")
    if "models/model.json" in names or "serialized_exported_program.json" in names:
        return Format.PROGRAM
    if "constants.pkl" in names and any(n.startswith("code/") for n in names):
        return Format.TORCHSCRIPT
    if "data.pkl" in names:
        return Format.PICKLE
    raise ValueError("a zip archive, but not one of torch's")


def classes(file: BinaryIO) -> list[str]:
    """The dotted paths that the pickle in a file names: everything that loading it would import. Raises ValueError.

    They are read from the pickle's instructions without running any, as torch's own scan does. A malicious pickle can
    hide imports from this, so callers that refuse such files do not rely on it.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            (entry,) = (n for n in archive.namelist() if n.partition("/")[2] == "data.pkl")
            return sorted(set(_globals(archive.read(entry))))
    except Exception as e:  # zipfile and pickletools raise anything on a damaged file
        raise ValueError(f"damaged: {e}") from e


def holds_tensors_only(names: list[str]) -> bool:
    """Whether a pickle names only what a state dict needs."""
    return all(n.rpartition(".")[0] in TENSORS_ONLY for n in names)


def _globals(pickled: bytes) -> list[str]:
    paths: list[str] = []
    strings: list[Any] = []  # the strings so far: STACK_GLOBAL takes the last two
    memo: dict[int, Any] = {}
    for code, argument, _ in pickletools.genops(pickled):
        if code.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            paths.append(f"{IMPORT_MAPPING.get(module, module)}.{name}")
        elif code.name == "STACK_GLOBAL":
            paths.append(".".join(strings[-2:]))
        elif code.name in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
            memo[len(memo) if argument is None else int(str(argument))] = strings[-1] if strings else ""
        elif code.name in ("BINGET", "LONG_BINGET", "GET"):
            strings.append(memo.get(int(str(argument)), ""))
        elif isinstance(argument, str):
            strings.append(argument)
    return paths
