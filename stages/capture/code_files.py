"""Paths of code without this machine's folders: relative to the folder from which Python imports them.

The lines of a model that torch records are part of a capture's bytes, and these must be the same on every machine.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).parents[2]
OURS = tuple(f"{HERE / package}{os.sep}" for package in ("stages", "pipeline"))
# fx numbers the code that it generates by how much a process has generated.
GENERATED = re.compile(r"^(<eval_with_key>)\.\d+.*")
# Python's tracebacks, and what fx and dynamo print.
QUOTED = re.compile(r'(?<=File ")[^"\n]+(?=", line \d)')


def relative(file: str) -> str:
    """A file as "torch/nn/modules/conv.py": relative to the deepest import folder that has it, or only its name."""
    return _below(Path(file), _roots()) if Path(file).is_absolute() else GENERATED.sub(r"\1", file)


def located(file: str) -> str:
    """The file on this machine for a path from `relative`; the path itself where there is none."""
    return next((str(path) for root in _roots() if (path := root / file).is_file()), file)


def relative_stack(text: str) -> str:
    """A stack trace of Python with every file as `relative` returns it."""
    return QUOTED.sub(lambda quoted: relative(quoted[0]), text)


def _roots() -> tuple[Path, ...]:
    """The folders that Python imports from, in order, then the current folder and ours, which may have no entry."""
    return _absolute((*sys.path, "", str(HERE)), Path.cwd())


# Both cached: a trace names few files on very many lines.
@functools.cache
def _absolute(entries: tuple[str, ...], current: Path) -> tuple[Path, ...]:
    return tuple(current / entry for entry in entries)


@functools.cache
def _below(file: Path, roots: tuple[Path, ...]) -> str:
    above = [root for root in roots if file.is_relative_to(root)]
    return file.relative_to(max(above, key=lambda root: len(root.parts))).as_posix() if above else file.name
