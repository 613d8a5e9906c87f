"""A TorchScript file, made the same bytes wherever its model is, however a run was started, whatever Python hashes to.

Beside each file of code in the archive a pickle, .debug_pkl, maps offsets in it to ranges of sources: Python files
where a module was scripted, call stacks where it was traced.

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
# Told by torch of all records; a new one is made of those that are written.
IDENTITY = ".data/serialization_id"
# The constants of a scripted class, which come in the order of a set. Sorted, they take the same room.
CONSTANTS = re.compile(rb"(?:^  \w+ : Final\[.*\n)+", re.MULTILINE)
# A line of a traced node's stack.
FRAME = re.compile(r"(.*)(\(\d+\): .*\n?)", re.DOTALL)


class _Integers(list[int]):
    """A list that TorchScript reads as one of integers."""

    def __reduce__(self) -> Any:
        from torch.jit import _pickle

        return _pickle.build_intlist, (list(self),)


class _Reader(pickle.Unpickler):
    """Knows that list, and no other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.jit._pickle", "build_intlist"):
            return _Integers
        raise pickle.UnpicklingError(f"{module}.{name} is none of what source ranges are made of")


def make_equal(path: Path) -> None:
    """Rewrites a file of torch.jit.save's in place: its code is in order, its sources tell no path of this machine.

    Not made equal: the numbers in the names of classes, which TorchScript counts up while a process lives.
    """
    import torch

    beside = path.with_name("equal") / path.name  # an archive is named after its file
    beside.parent.mkdir()
    reader, writer = torch._C.PyTorchFileReader(str(path)), torch._C.PyTorchFileWriter(str(beside))
    for name in reader.get_all_records():
        if name == IDENTITY:
            continue
        held = reader.get_record(name)
        if name.endswith(DEBUG):
            held = _without_paths(held)
        elif name.startswith("code/"):
            held = CONSTANTS.sub(lambda run: b"".join(sorted(run[0].splitlines(keepends=True))), held)
        writer.write_record(name, held, len(held))
    writer.write_end_of_file()
    beside.replace(path)
    beside.parent.rmdir()


def _without_paths(pickled: bytes) -> bytes:
    """The same ranges of sources whose texts are told anew.

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

    made = []
    for offset, ((lines, file, first), start, end), tag in ranges:
        told = [texts[i] for i in lines]
        if told and told[0] in frames:  # a stack, innermost first; what is beyond our call of torch is how a run began
            told = [frames.get(t, t) for t in takewhile(lambda t: not t.startswith(code_files.OURS), told) if t]
            start, end = 0, len("".join(told).encode())
        source = _Integers(map(number, told)), number(code_files.relative(texts[file])), first
        made.append((offset, (source, start, end), tag))
    return pickle.dumps((HEAD, tuple(numbers), tuple(made)), protocol=2)
