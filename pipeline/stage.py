"""The contract of a stage: what it consumes, produces and requires, and the one method that does the work.

A stage is a frozen dataclass. Its fields are its settings; their defaults live in its YAML under conf/stage/. It is
built without importing its vendor and without touching a file, so that a whole plan can be checked before any work.
The rules of a setting beyond its type are declared beside the type, see pipeline/settings.py; a stage asks its fields.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem
from pipeline.ranges import Above as Above
from pipeline.ranges import AtLeast as AtLeast
from pipeline.ranges import Between as Between
from pipeline.ranges import Code as Code
from pipeline.ranges import Each as Each
from pipeline.ranges import FilePath as FilePath
from pipeline.ranges import Matches as Matches
from pipeline.ranges import OneOf as OneOf
from pipeline.ranges import Requires as Requires
from pipeline.ranges import SomeOf as SomeOf
from pipeline.ranges import Unkeyed as Unkeyed
from pipeline.settings import Setting as Setting
from pipeline.settings import Settings as Settings
from pipeline.settings import World as World
from pipeline.settings import digest_of as digest_of

# Part of every key. Increase it when a change of this file, artifact.py or errors.py changes results of stages.
CONTRACT = 1


class Keep(StrEnum):
    """Where a stage's result is kept."""

    STORED = "stored"  # published in the store, shared by every run, unless the stage leaves no files
    MEMORY = "memory"  # never stored: its key stands for its content, and it is rebuilt only when something needs it
    DELIVERED = "delivered"  # written to the user's output folder on every run


@dataclass(frozen=True)
class SameKindAs:
    """For `Stage.produces`: a new artifact of the kind that a port receives."""

    port: str


@dataclass(frozen=True)
class Stage(Settings, ABC):
    """One step of the graph.

    Attributes:
        consumes: Port name to the kinds it accepts. The facts of the first port's artifact travel on.
        on_request: Port name to the kinds that it accepts only from a stage listed in `needs`, never by default.
        optional: Ports that may have no input; `run` then gets nothing for them. Never the port that is passed through.
        produces: The kind of the result; or the port whose artifact is passed through; or SameKindAs a port.
        requires: Importable modules that `run` uses; looked up, not imported, before any work. Their versions are
            part of the key.
        needs_gpu: Whether `run` needs an NVIDIA GPU; looked for before any work.
        otherwise: What to type on a machine that lacks a requirement, if it cannot be installed.
        consent: The setting by which a person allows a file to run code when it is loaded.
        native_to: The parts of this machine that decide the result and join the key: processor, cores, gpu.
        repeatable: Whether equal keys give equal bytes on every machine. False for measured and for native results.
        isolable: Whether `run` may work in a process of its own, so that a crash, a hang or a lack of memory ends this
            stage alone: for stages that call a native compiler or runtime. The settings are pickled. Objects in
            memory (`live`) do not cross, neither with the inputs nor with the result.
    """

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {}
    on_request: ClassVar[Mapping[str, frozenset[Kind]]] = {}
    optional: ClassVar[frozenset[str]] = frozenset()
    produces: ClassVar[Kind | str | SameKindAs]
    requires: ClassVar[tuple[str, ...]] = ()
    needs_gpu: ClassVar[bool] = False
    otherwise: ClassVar[str] = ""
    keep: ClassVar[Keep] = Keep.STORED
    native_to: ClassVar[tuple[str, ...]] = ()
    repeatable: ClassVar[bool] = True
    consent: ClassVar[str | None] = None
    isolable: ClassVar[bool] = False

    def ports(self) -> Mapping[str, frozenset[Kind]]:
        """`consumes` without the ports that these settings do not use."""
        return self.consumes

    def makes(self, kinds: Mapping[str, Kind]) -> Kind:
        """The kind of the result, for the kinds that the ports really receive."""
        if isinstance(self.produces, Kind):
            return self.produces
        return kinds[self.produces.port if isinstance(self.produces, SameKindAs) else self.produces]

    @property
    def passes_on(self) -> str | None:
        """The port whose artifact is passed through as the result; None where the result is new."""
        produces = self.produces
        return produces if isinstance(produces, str) and not isinstance(produces, Kind) else None

    def modules(self, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
        """`requires` and what the settings require, for the kinds that the ports really receive."""
        return tuple(dict.fromkeys((*self.requires, *sorted(self.libraries()))))

    def lacking(self, kinds: Mapping[str, Kind]) -> list[Problem]:
        """What this machine lacks besides modules and a GPU, for the kinds that the ports really receive."""
        return []

    def identity(self, world: World) -> Mapping[str, Any]:
        """Plain JSON that decides the result, apart from inputs and library versions: the settings, by default.

        It has no paths, but the content of files.
        """
        machine = {name: getattr(world, name)() for name in self.native_to}
        return {**super().identity(world), **{n: dict(v) if isinstance(v, Mapping) else v for n, v in machine.items()}}

    def parts(
        self, inputs: Mapping[str, Artifact], folder: Path
    ) -> Iterator[tuple[str, Stage, Mapping[str, Artifact]]]:
        """Small pieces of the work, each as a stage with its inputs, to find the piece that crashes a process.

        Used only after an isolated process has died, and never for a result.

        Args:
            inputs: As for `run`.
            folder: A folder for the files of the pieces.

        Yields the name of a piece for a message, such as "STFT 'node_stft'", with a stage that can be isolated and its
        inputs.
        """
        return iter(())

    def describe(self) -> str:
        """A few words for the plan that the stage's name does not say."""
        return ""

    @abstractmethod
    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        """Does the work, writing only inside `folder`, which is private and empty.

        Args:
            inputs: Port name to artifact, for the ports that are fed. Their folders are read-only.
            folder: Where the files of the result go.

        A stage that has checked its artifact says in its notes, under "claims", what it vouches for and what it leaves
        open. Claims are plain JSON that the content and the settings alone decide, never a measured figure. They travel
        in the artifact's record.

        A result may share a file with an input by a hard link, which costs no space and is not hashed again. A result
        with an object in memory and no folder is not stored: it is built again when a later stage must run.

        Raises StageError or CheckFailed; anything else a vendor raises is wrapped by the runner.
        """


def name_of(stage: type[Stage]) -> str:
    """The name of a stage, wherever its class lies: `compile_openvino` for CompileOpenvino.

    Keys, records and locks have this name. It is unique in a graph.
    """
    return snake_case(stage.__name__)


def snake_case(name: str) -> str:
    """`compile_openvino` for CompileOpenvino."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def settings_of(stage: Stage) -> dict[str, Any]:
    """A stage's settings as plain JSON, by the names of its fields; a path becomes text."""
    settings = json.loads(json.dumps(asdict(stage), default=str))
    assert isinstance(settings, dict)
    return settings
