"""Makes a TorchScript file reproducible: the same bytes for every folder, way to start, and hash seed of Python.

Beside each file of code in the archive, a pickle (.debug_pkl) maps offsets in it to ranges of sources: Python files for
a scripted module, call stacks for a traced one.

Source: https://github.com/pytorch/pytorch/blob/main/torch/csrc/jit/serialization/source_range_serialization.cpp
"""

from __future__ import annotations

import io
import pickle
import re
from itertools import takewhile
from pathlib import Path
from typing import Any

from stages.capture import code_files

DEBUG = ".debug_pkl"
HEAD = "FORMAT_WITH_STRING_TABLE"
# torch computes it from all records; the writer makes a new one.
IDENTITY = ".data/serialization_id"
# The constants of a scripted class, in the order of a set. Sorting does not change their length.
CONSTANTS = re.compile(rb"(?:^  \w+ : Final\[.*\n)+", re.MULTILINE)
# A line of a traced node's stack.
FRAME = re.compile(r"(.*)(\(\d+\): .*\n?)", re.DOTALL)


class _Integers(list[int]):
    """A list that TorchScript reads as one of integers."""

    def __reduce__(self) -> Any:
        from torch.jit import _pickle

        return _pickle.build_intlist, (list(self),)


class _Reader(pickle.Unpickler):
    """Reads that list, and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.jit._pickle", "build_intlist"):
            return _Integers
        raise pickle.UnpicklingError(f"{module}.{name} is none of what source ranges are made of")


def make_equal(path: Path) -> None:
    """Rewrites a file of torch.jit.save in place: its constants are sorted, its sources have no path of this machine.

    The numbers in the names of classes stay, which TorchScript counts up during a process.
    """
    import torch

    beside = path.with_name("equal") / path.name  # an archive is named after its file
    beside.parent.mkdir()
    reader, writer = torch._C.PyTorchFileReader(str(path)), torch._C.PyTorchFileWriter(str(beside))
    for name in reader.get_all_records():
        if name == IDENTITY:
            continue
        record = reader.get_record(name)
        if name.endswith(DEBUG):
            record = _without_paths(record)
        elif name.startswith("code/"):
            record = CONSTANTS.sub(lambda run: b"".join(sorted(run[0].splitlines(keepends=True))), record)
        writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    beside.replace(path)
    beside.parent.rmdir()


def _without_paths(pickled: bytes) -> bytes:
    """The same ranges of sources with texts that have no path of this machine.

    A range is (offset in the code, (source, start, end), tag), a source (lines, file, first line): numbers of texts.
    """
    head, *rest = _Reader(io.BytesIO(pickled)).load()
    if head != HEAD:
        raise ValueError(f"source ranges begin with {head!r}, not {HEAD}")
    texts, ranges = rest
    frames = {t: code_files.relative(m[1]) + m[2] for t in texts if (m := FRAME.fullmatch(t))}
    numbers: dict[str, int] = {"": 0}

    def number(text: str) -> int:
        return numbers.setdefault(text, len(numbers))

    relative_ranges = []
    for offset, ((lines, file, first), start, end), tag in ranges:
        source_lines = [texts[i] for i in lines]
        if (
            source_lines and source_lines[0] in frames
        ):  # a stack, innermost first; frames beyond our call of torch depend on how the run was started
            source_lines = [
                frames.get(t, t) for t in takewhile(lambda t: not t.startswith(code_files.OURS), source_lines) if t
            ]
            start, end = 0, len("".join(source_lines).encode())
        source = _Integers(map(number, source_lines)), number(code_files.relative(texts[file])), first
        relative_ranges.append((offset, (source, start, end), tag))
    return pickle.dumps((HEAD, tuple(numbers), tuple(relative_ranges)), protocol=2)
