"""The contract of a runtime, and which module executes which kind."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from pipeline import formats
from pipeline.artifact import Artifact, Kind
from pipeline.errors import CheckFailed, StageError, listed, nearest
from stages.interface.interface import FACT

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray[Any, Any]]

COMPUTE = ("float32", "float16", "bfloat16")
# Kinds that a stage's port takes only when `needs` says so: a module comes before every graph, and the graph is meant.
ON_REQUEST = frozenset({Kind.MODULE})


@dataclass(frozen=True)
class How:
    """How to run an artifact.

    Args:
        compute: The type that it must compute in: float32, float16 or bfloat16.
        threads: How many threads to compute with, pinned, in a session that is run many times; None for the runtime's
            own choice, in a session that is run a few times.
        properties: The runtime's own settings by its own names; each is read back.
        extensions: Operations that the runtime lacks; see stages/openvino/library.py.
    """

    compute: str
    threads: int | None
    properties: Mapping[str, str]
    extensions: Sequence[str]


class Session(Protocol):
    """An artifact that is loaded and ready to be run.

    Attributes:
        computes_in: The type that the runtime reports to compute in: float32, float16 or bfloat16. A runtime that
            compiles on its first call reports "unknown" before that call.
        properties: The runtime's own settings, read back from it after it has run, by its own names.
    """

    @property
    def computes_in(self) -> str: ...

    @property
    def properties(self) -> Mapping[str, str]: ...

    def __call__(self, inputs: Arrays) -> Arrays:
        """Outputs by name for inputs by name. Raises whatever the runtime raises."""

    def prepare(self, inputs: Arrays) -> Callable[[], object]:
        """One inference on inputs that are set once, here, for measuring its time. Its return value has no meaning."""


def modules(kind: Kind) -> tuple[str, ...]:
    """The importable modules that are needed to run a kind."""
    return requires(runtime(kind))


def runtime(kind: Kind) -> str:
    """The dotted name of the module that runs a kind."""
    return formats.part(kind, "runtime").__name__


def requires(module: str) -> tuple[str, ...]:
    """The importable modules that a runtime needs."""
    return tuple(importlib.import_module(module).REQUIRES)


def name(kind: Kind) -> str:
    """The name of the runtime of a kind, for people."""
    *_, room, file = runtime(kind).split(".")
    return room if file == "runtime" else file


def must_compute_in(compute: str, reported: str, own: Collection[str] = ()) -> None:
    """Raises CheckFailed when a session that has run reports that it computed in another type.

    Args:
        compute: The requested type.
        reported: The type that the session reports.
        own: The types narrower than float32 that the file itself has; these count as float32.
    """
    if reported != compute and not (compute == "float32" and reported in own):
        raise CheckFailed(
            f"asked to compute in {compute}, the runtime computes in {reported}",
            command=f"stages.NAME.compute={reported}, or another machine",
        )


def open_session(
    artifact: Artifact,
    compute: str,
    *,
    threads: int | None = None,
    properties: Mapping[str, str] | None = None,
    extensions: Sequence[str] = (),
    by: str | None = None,
) -> Session:
    """Loads an artifact on the CPU; an engine, which is native to a GPU, on that GPU.

    Args:
        artifact: One of the kinds that have a runtime. A module comes with its interface; see `with_interface`.
        compute: See How.
        threads: See How.
        properties: See How.
        extensions: See How.
        by: The module that runs it; None for the runtime of its kind.

    Raises:
        StageError: For a property or an extension that the runtime does not have.
        CheckFailed: For a property that reads back with another value than was set.
    """
    opening = importlib.import_module(by or runtime(artifact.kind))
    how = How(compute, threads, properties or {}, extensions)
    session: Session = opening.open_session(artifact, how)
    return session


def assumed(session: Session) -> Mapping[str, str]:
    """Behaviour that a session had to assume because no source says what a device does: name to description.

    Most sessions assume nothing.
    """
    assumptions: Mapping[str, str] = getattr(session, "assumed", {})
    return assumptions


def with_interface(artifact: Artifact, reference: Artifact) -> Artifact:
    """A module with the interface that its reference completed; artifacts of other kinds have theirs already."""
    if artifact.kind != Kind.MODULE:
        return artifact
    return replace(artifact, facts={**artifact.facts, FACT: reference.facts[FACT]})


def without_settings(how: How, runtime: str) -> How:
    """Refuses properties and extensions for a runtime that has neither. Raises StageError."""
    refuse_unknown(how.properties, {}, runtime)
    return without_extensions(how, runtime)


def without_extensions(how: How, runtime: str) -> How:
    """Refuses extensions for a runtime that takes none. Raises StageError."""
    if how.extensions:
        raise StageError(
            f"extensions names {listed(how.extensions)}, and {runtime} takes none",
            command="'stages.NAME.extensions=[]'",
        )
    return how


def refuse_unknown(properties: Mapping[str, str], settable: Mapping[str, str], runtime: str) -> None:
    """Refuses a property that a runtime does not have, or that one of our own settings decides.

    Args:
        properties: The requested properties.
        settable: The runtime's properties, each with our setting that decides it, or "" where it may be set freely.
        runtime: The runtime's name.

    Raises:
        StageError: With near matches.
    """
    free = sorted(name for name, ours in settable.items() if not ours)
    for name in properties:
        if name not in settable:
            raise StageError(
                f"properties.{name}: {runtime} has no such setting{nearest(name, free)}",
                allowed=listed(free, 40) or "none: this runtime has no settings of its own",
                command=f"'~stages.NAME.properties.{name}'",
            )
        if ours := settable[name]:
            raise StageError(f"properties.{name} is decided by another setting", command=f"stages.NAME.{ours}=…")
