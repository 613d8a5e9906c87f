"""Formats: what each offers to other code, and which room of `stages` has it.

    stages/onnx/format.py   FORMATS = {"onnx": Format(file="model.onnx", record="record", runtime="runtime", …)}

    ONNX.file                       "model.onnx"
    formats.kinds("runtime")        the kinds that can be run
    formats.part(ONNX, "runtime")   the module stages.onnx.runtime

A format is one folder: a new one is found because its folder has a `format.py`. That file declares things and imports
only this contract, so that reading it costs nothing. pipeline/code/ reads the same declarations to find the code of a
key. It understands `part(…, "name")` and `Format(name="file")` only with literal names, so write the names as literals.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from pipeline.errors import StageError

ROOMS = "stages"


class Kind(str):
    """The kind of an artifact, such as "onnx". The kinds below belong to no format; the others are in a `format.py`."""

    __slots__ = ()

    MODULE: ClassVar[Kind]  # torch.nn.Module, in memory only
    REFERENCE: ClassVar[Kind]  # seeded inputs and the eager module's outputs
    SAMPLES: ClassVar[Kind]  # inputs for the calibration of ranges
    ANSWERS: ClassVar[Kind]  # labelled samples and the eager module's outputs for them
    DELIVERY: ClassVar[Kind]  # the copy that the user gets

    @property
    def file(self) -> str:
        """The file of an artifact's folder that a reader of this kind opens. Raises ValueError where there is none."""
        if (name := format_of(self).file) is None:
            raise ValueError(f"a {self} artifact has no file of its own")
        return name


Kind.MODULE = Kind("module")
Kind.REFERENCE = Kind("reference")
Kind.SAMPLES = Kind("samples")
Kind.ANSWERS = Kind("answers")
Kind.DELIVERY = Kind("delivery")


@dataclass(frozen=True)
class Format:
    """What one kind of artifact offers to other code.

    The first group has facts. Each value of the second group is the name of a file in the format's folder, without its
    suffix; None where the format has no such part. Each part is explained where it is used.

    Args:
        file: The file of an artifact's folder that a reader opens; None where there is no single file.
        delivered: Whether an artifact of this kind may be delivered to a user.
        on_device: The files that a device needs; empty for the artifact's whole folder.
        native: By library, modules that it imports only when it needs them; a run looks for them before any work.
        blocked: Modules with which a library would send data; their import is prevented.

        record: Puts a record into a model file and takes it out: `Record`; see pipeline/record/carrier.py.
        probe: What doctor reads from a library that was imported: `FACTS`; see pipeline/machine/probe.py.
        target: Settings of `target` for this format alone: a dataclass `Target`; see pipeline/config/schema.py.
        runtime: Runs an artifact on arrays: `REQUIRES`, `open_session`; see stages/formats/session.py.
        model: Runs a file that is itself the model: see stages/reference/record_reference.py.
        types: Reads what a graph stores and computes in: `REQUIRES`, `read`; see stages/formats/graphs.py.
        constants: Gives constants of a graph: `matrices(path, extensions, shapes)`, arrays of floating-point numbers.
        layers: Counts layers by type where no graph can be read: `layers`; see stages/checking/audit.py.
        operations: Lists the operations of a file: `operations(path)`; see pipeline/report/folding.py.
        values: Gives values inside a graph: `values(artifact, names, inputs, fed, how)`; `fed` has, by name, values
            that replace the results of layers. `all_values(artifact, inputs, how)` gives all of them; see
            stages/formats/inner.py.
        largest: Gives the largest magnitude among layers: `largest(artifact, names, inputs)`.
        generation: Lays out the folder that a runtime for language models loads, and generates with it; see
            stages/generation/folders.py.
        host: Checks a delivered model on the user's machine: a script with `RUNTIME`; see stages/portable/selfcheck.py.
        bundle: The format's part of a bundle's README: `Bundle`; see stages/delivery/bundle.py.
    """

    file: str | None = None
    delivered: bool = False
    on_device: tuple[str, ...] = ()
    native: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    blocked: tuple[str, ...] = ()

    record: str | None = None
    probe: str | None = None
    target: str | None = None
    runtime: str | None = None
    model: str | None = None
    types: str | None = None
    constants: str | None = None
    layers: str | None = None
    operations: str | None = None
    values: str | None = None
    largest: str | None = None
    generation: str | None = None
    host: str | None = None
    bundle: str | None = None


NONE = Format()


@functools.cache
def all_formats() -> Mapping[Kind, tuple[str, Format]]:
    """By kind, the room that has it and its format."""
    return {
        Kind(kind): (room, declared)
        for room in _rooms()
        for kind, declared in importlib.import_module(f"{room}.format").FORMATS.items()
    }


def format_of(kind: str) -> Format:
    """The format of a kind; an empty one for a kind that belongs to no format."""
    return all_formats().get(Kind(kind), ("", NONE))[1]


def kinds(name: str) -> frozenset[Kind]:
    """The kinds whose format has a fact or a part, such as "delivered" or "runtime"."""
    return frozenset(kind for kind, (_, declared) in all_formats().items() if getattr(declared, name))


def part(kind: str, name: str) -> ModuleType:
    """The module of a kind's room that is a part of its format. Raises StageError where the format has none."""
    file = getattr(format_of(kind), name)
    if file is None:
        raise StageError(f"{kind} has no {name}", allowed=", ".join(sorted(kinds(name))))
    return importlib.import_module(f"{all_formats()[Kind(kind)][0]}.{file}")


def parts(name: str) -> Collection[ModuleType]:
    """The modules of all formats that are one part, each once, in the order of the rooms."""
    return list({module.__name__: module for kind in sorted(kinds(name)) for module in [part(kind, name)]}.values())


def native(module: str) -> tuple[str, ...]:
    """The modules that a library imports only when it needs them."""
    return next((d.native[module] for _, d in all_formats().values() if module in d.native), ())


def block() -> None:
    """Prevents, in this process, the import of modules with which libraries would send data."""
    for _, declared in all_formats().values():
        for module in declared.blocked:
            sys.modules.setdefault(module, None)  # type: ignore[arg-type]  # makes an import of it fail


def _rooms() -> Iterator[str]:
    """The rooms that have a format, in the order of their names."""
    spec = importlib.util.find_spec(ROOMS)
    for folder in spec.submodule_search_locations or () if spec else ():
        for room in sorted(path.parent.name for path in Path(folder).glob("*/format.py")):
            yield f"{ROOMS}.{room}"
