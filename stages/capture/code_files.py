"""Where code is, without where this machine keeps it: files told from the folder that Python imports them from.

What torch records of a model's lines is part of a capture's bytes, and those are the same wherever it is made.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).parents[2]
OURS = tuple(f"{HERE / package}{os.sep}" for package in ("stages", "pipeline"))
# What fx writes and runs is numbered by how much of it a process has met.
GENERATED = re.compile(r"^(<eval_with_key>)\.\d+.*")
# Python's tracebacks, and what fx and dynamo print.
QUOTED = re.compile(r'(?<=File ")[^"\n]+(?=", line \d)')


def relative(file: str) -> str:
    """A file as "torch/nn/modules/conv.py": below the deepest folder to import from that has it, or its name alone."""
    return _below(Path(file), _roots()) if Path(file).is_absolute() else GENERATED.sub(r"\1", file)


def found(file: str) -> str:
    """The file on this machine that `relative` told so; as it is told where there is none."""
    return next((str(path) for root in _roots() if (path := root / file).is_file()), file)


def relative_stack(text: str) -> str:
    """A stack of Python's, every file in it as `relative` tells it."""
    return QUOTED.sub(lambda quoted: relative(quoted[0]), text)


def _roots() -> tuple[Path, ...]:
    """The folders that Python imports from, in its order, then the current one and ours, which may need no entry."""
    return _absolute((*sys.path, "", str(HERE)), Path.cwd())


# Both cached: a trace tells of few files on very many lines.
@functools.cache
def _absolute(entries: tuple[str, ...], current: Path) -> tuple[Path, ...]:
    return tuple(current / entry for entry in entries)


@functools.cache
def _below(file: Path, roots: tuple[Path, ...]) -> str:
    above = [root for root in roots if file.is_relative_to(root)]
    return file.relative_to(max(above, key=lambda root: len(root.parts))).as_posix() if above else file.name
