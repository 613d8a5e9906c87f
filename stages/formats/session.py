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
# What a stage's port takes only when `needs` names it: there is a module before every graph, and the graph is meant.
ON_REQUEST = frozenset({Kind.MODULE})


@dataclass(frozen=True)
class How:
    """How an artifact is to be run.

    Args:
        compute: What it must compute in: float32, float16 or bfloat16.
        threads: How many threads it computes with, pinned, in a session set up to be run many times; None for the
            runtime's own choice in one that is run a few times.
        properties: The runtime's own settings by its own names; each is read back.
        extensions: Operations that the runtime does not have by itself; see stages/openvino/library.py.
    """

    compute: str
    threads: int | None
    properties: Mapping[str, str]
    extensions: Sequence[str]


class Session(Protocol):
    """An artifact that is loaded and ready to be run.

    Attributes:
        computes_in: What the runtime says it computes in, read back from it: float32, float16 or bfloat16. What
            compiles on its first call knows it after that, and says "unknown" until then.
        properties: The runtime's own settings as read back from it, by its own names, once it has run.
    """

    @property
    def computes_in(self) -> str: ...

    @property
    def properties(self) -> Mapping[str, str]: ...

    def __call__(self, inputs: Arrays) -> Arrays:
        """Outputs by name for inputs by name. Raises whatever the runtime raises."""

    def prepare(self, inputs: Arrays) -> Callable[[], object]:
        """One inference on inputs that are set here once, for whoever times it. What it returns is of no use."""


def modules(kind: Kind) -> tuple[str, ...]:
    """The importable modules that executing a kind takes."""
    return requires(runtime(kind))


def runtime(kind: Kind) -> str:
    """The module that executes a kind, by its dotted name."""
    return formats.part(kind, "runtime").__name__


def requires(module: str) -> tuple[str, ...]:
    """The importable modules that a runtime takes."""
    return tuple(importlib.import_module(module).REQUIRES)


def name(kind: Kind) -> str:
    """What the runtime of a kind is called."""
    *_, room, file = runtime(kind).split(".")
    return room if file == "runtime" else file


def must_compute_in(compute: str, found: str, own: Collection[str] = ()) -> None:
    """Raises CheckFailed when a session, once it has run, says that it computes in another type.

    Args:
        compute: What was asked for.
        found: What it says.
        own: The types of fewer bits that a file itself has; these are as good as float32.
    """
    if found != compute and not (compute == "float32" and found in own):
        raise CheckFailed(
            f"asked to compute in {compute}, the runtime computes in {found}",
            command=f"stages.NAME.compute={found}, or another machine",
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
    """Loads an artifact: on the CPU, but for an engine, which is native to a GPU.

    Args:
        artifact: One of the kinds that have a runtime. A module comes with its interface; see `with_interface`.
        compute: See How, and for the next three.
        threads: Likewise.
        properties: Likewise.
        extensions: Likewise.
        by: The module that executes it; None for the kind's own.

    Raises:
        StageError: For a property or an extension that the runtime has no use for.
        CheckFailed: For a property that reads back otherwise than it was asked for.
    """
    opening = importlib.import_module(by or runtime(artifact.kind))
    how = How(compute, threads, properties or {}, extensions)
    session: Session = opening.open_session(artifact, how)
    return session


def assumed(session: Session) -> Mapping[str, str]:
    """What a session had to take some way, nothing saying what a device does: by its name, in words. Most have none."""
    taken: Mapping[str, str] = getattr(session, "assumed", {})
    return taken


def with_interface(artifact: Artifact, reference: Artifact) -> Artifact:
    """A module with the interface that its reference completed; what is made of one has it by now."""
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


def refuse_unknown(properties: Mapping[str, str], known: Mapping[str, str], runtime: str) -> None:
    """Refuses a property that a runtime does not have, or that a setting of ours decides.

    Args:
        properties: What was asked for.
        known: The properties that may be set, each with the setting of ours that decides it, or "".
        runtime: Its name.

    Raises:
        StageError: With near matches.
    """
    free = sorted(name for name, ours in known.items() if not ours)
    for name in properties:
        if name not in known:
            raise StageError(
                f"properties.{name}: {runtime} has no such setting{nearest(name, free)}",
                allowed=listed(free, 40) or "none: this runtime has no settings of its own",
                command=f"'~stages.NAME.properties.{name}'",
            )
        if ours := known[name]:
            raise StageError(f"properties.{name} is decided by another setting", command=f"stages.NAME.{ours}=…")
