"""Formats: what each offers to other code, and which room of `stages` has it.

    stages/onnx/format.py   FORMATS = {"onnx": Format(file="model.onnx", record="record", runtime="runtime", …)}

    ONNX.file                       "model.onnx"
    formats.kinds("runtime")        the kinds that can be run
    formats.part(ONNX, "runtime")   the module stages.onnx.runtime

A format is one folder: a new one is found because its folder has a `format.py`. That file declares and imports nothing
but this contract, so that anybody can read it at any time. The code behind a key is found in the same declarations, by
reading them: see pipeline/code/. It understands `part(…, "name")` and `Format(name="file")` as they stand here, so both
take their names as plain text.
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
    """What an artifact is, such as "onnx". Those below belong to no format; a format's own are in its `format.py`."""

    __slots__ = ()

    MODULE: ClassVar[Kind]  # torch.nn.Module, in memory only
    REFERENCE: ClassVar[Kind]  # seeded inputs and the eager module's outputs
    SAMPLES: ClassVar[Kind]  # inputs that ranges are calibrated on
    ANSWERS: ClassVar[Kind]  # labelled samples and what the eager module says to them
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

    The first group are facts. Each value of the second group is the name of a file in the format's room, without its
    suffix; None where the format has no such part. Each part is explained where it is used.

    Args:
        file: The file of an artifact's folder that a reader opens; None where no one file is it.
        delivered: Whether a user may be handed an artifact of this kind.
        on_device: The files that a device needs; all of the artifact's folder where it is empty.
        native: By library, the modules that it works without until it needs them; a run looks for them first.
        blocked: Modules that a library would send data by; they are kept from being imported.

        record: Puts a record into a model file and takes it out: `Record`; see pipeline/record/carrier.py.
        probe: What doctor reads from a library that was imported: `FACTS`; see pipeline/machine/probe.py.
        target: Settings of `target` for this format alone: a dataclass `Target`; see pipeline/config/schema.py.
        runtime: Runs an artifact on arrays: `REQUIRES`, `open_session`; see stages/formats/session.py.
        model: Runs a file that is itself the model: see stages/reference/record_reference.py.
        types: Reads what a graph stores and computes in: `REQUIRES`, `read`; see stages/formats/graphs.py.
        constants: Gives constants of a graph: `matrices(path, extensions, shapes)`, arrays of floating-point numbers.
        layers: Counts layers by type where no graph can be read: `layers`; see stages/checking/audit.py.
        operations: Lists what a file does, to be looked at: `operations(path)`; see pipeline/report/folding.py.
        values: Gives values inside a graph: `values(artifact, names, inputs, fed, how)`; `fed` has, by name, the values
            to go on with in place of what layers compute; and all of them: `all_values(artifact, inputs, how)`, see
            stages/formats/inner.py.
        largest: Gives the largest magnitude among layers: `largest(artifact, names, inputs)`.
        generation: Lays out the folder that a runtime for language models loads, and generates with it; see
            stages/generation/folders.py.
        host: Checks a delivered model where it goes: a script with `RUNTIME`; see stages/portable/selfcheck.py.
        bundle: What the README of a bundle says of it: `Bundle`; see stages/delivery/bundle.py.
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
    """The modules that a library works without until it needs them."""
    return next((d.native[module] for _, d in all_formats().values() if module in d.native), ())


def block() -> None:
    """Prevents the import of modules that libraries would send data by, in this process."""
    for _, declared in all_formats().values():
        for module in declared.blocked:
            sys.modules.setdefault(module, None)  # type: ignore[arg-type]  # makes an import of it fail


def _rooms() -> Iterator[str]:
    """The rooms that have a format, in the order of their names."""
    spec = importlib.util.find_spec(ROOMS)
    for folder in spec.submodule_search_locations or () if spec else ():
        for room in sorted(path.parent.name for path in Path(folder).glob("*/format.py")):
            yield f"{ROOMS}.{room}"
