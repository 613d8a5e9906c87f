"""Which room has which kind of artifact: found by the `format.py` that a room has, asked by kind.

    registry.kinds("runtime")            the kinds that can be run
    registry.part("onnx", "runtime")     stages.onnx.runtime

A format is one folder: a new one is found because it is there. The core reads the same files, without importing them,
to know which code a result depends on: see pipeline/code/. It understands `part(…, "name")` and `Format(name="file")`
as they stand here, so both take their names as plain text.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import stages
from pipeline.artifact import Kind
from pipeline.errors import StageError


@dataclass(frozen=True)
class Format:
    """What can be asked of one kind: each value is the name of a file in the format's room, None where there is none.

    Args:
        runtime: Runs an artifact on arrays: REQUIRES, NAME and `open_session`; see session.py.
        types: Reads what a graph stores and computes in: REQUIRES and `read`; see graphs.py.
        values: Gives the values of layers inside a graph: `values(artifact, names, inputs, fed, how)`; `fed` has, by
            name, the values to go on with in place of what layers compute.
        largest: Gives the largest magnitude among layers: `largest(artifact, names, inputs)`.
    """

    runtime: str | None = None
    types: str | None = None
    values: str | None = None
    largest: str | None = None


@functools.cache
def _rooms() -> Mapping[str, tuple[str, Format]]:
    """By kind, the room and the format."""
    found: dict[str, tuple[str, Format]] = {}
    for info in pkgutil.iter_modules(stages.__path__, "stages."):
        if info.ispkg and importlib.util.find_spec(f"{info.name}.format"):
            formats: Mapping[str, Format] = importlib.import_module(f"{info.name}.format").FORMATS
            found |= {kind: (info.name, known) for kind, known in formats.items()}
    return found


def kinds(part: str) -> frozenset[Kind]:
    """The kinds whose format has a part: "runtime", "types" or "values"."""
    return frozenset(Kind(kind) for kind, (_, known) in _rooms().items() if getattr(known, part))


def part(kind: Kind, name: str) -> ModuleType:
    """The module of a kind's room that does something. Raises StageError where the format has no such part."""
    room, known = _rooms().get(str(kind), ("", Format()))
    file = getattr(known, name)
    if file is None:
        raise StageError(f"{kind} has no {name}", allowed=", ".join(sorted(kinds(name))))
    return importlib.import_module(f"{room}.{file}")
