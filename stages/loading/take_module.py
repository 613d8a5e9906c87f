"""Takes a module that the program has in memory."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, StageError
from pipeline.notes import Facts, Weights
from pipeline.stage import Keep, Matches, Stage, World
from stages.interface import factory
from stages.loading import in_memory
from stages.loading import weights as weights_source

# The modules at hand, by handle; equal ones of several threads under one.
_HANDED: dict[str, list[Any]] = {}


@dataclass(frozen=True)
class TakeModule(Stage):
    """A copy of the module that `handed` got, so that whoever has the module finds it as it was.

    Args:
        handle: What `handed` gave: the digest of its code, its attributes and its state.
    """

    handle: Annotated[str, Matches("[0-9a-f]{64}", "64 hex digits", "pipeline.convert(module, …) fills it in")]

    produces: ClassVar[Kind | str] = Kind.MODULE
    requires: ClassVar[tuple[str, ...]] = ("torch",)
    keep: ClassVar[Keep] = Keep.MEMORY

    @staticmethod
    @contextlib.contextmanager
    def handed(module: Any, code: in_memory.Code) -> Iterator[str]:
        """Has a torch.nn.Module at hand in the block, under the handle that `model.handle` is to say.

        Equal modules have equal handles, in other processes too. One with an attribute that cannot be told by its
        content has another handle each time, so that nothing is taken for it that was made of another.

        Args:
            module: It is copied, and left as it is.
            code: World.code.

        Raises ConfigError for TorchScript, which is a file's.
        """
        import torch

        if isinstance(module, torch.jit.ScriptModule):
            raise ConfigError(
                "the model is TorchScript, whose code is in no class",
                command="torch.jit.save(model, 'net.pt'), then convert('module_file', **{'model.weights': 'net.pt'})",
            )
        handle = in_memory.digest(module, code)
        users = _HANDED.setdefault(handle, [])
        users.append(module)
        try:
            yield handle
        finally:
            users.pop()
            if not users:
                _HANDED.pop(handle, None)

    def settle(self, world: World) -> Self:
        """Refuses a handle that nobody in this process has a module for. Raises ConfigError."""
        if not _HANDED.get(self.handle):
            raise ConfigError(
                "model=live is a module in the memory of a Python program, and this is not that program",
                command="pipeline.convert(module, …) in it; or model=custom model.factory=… model.weights=FILE",
            )
        return self

    def describe(self) -> str:
        return "in memory"

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        given = _HANDED[self.handle][-1]
        try:
            module = copy.deepcopy(given).cpu()
        except Exception as e:  # a module may hold anything
            raise StageError(
                f"{type(given).__name__} cannot be copied: {factory.told(e)}",
                allowed="a module that copy.deepcopy takes, since a conversion must leave yours as it is",
            ) from e
        factory.refuse_cycles(module, type(given).__name__)
        size = weights_source.size(module)
        source = {"class": f"{type(given).__module__}.{type(given).__qualname__}", "bytes": size}
        weights = Weights(trained=True, sha256=None, says="as the program had them in memory")
        return Artifact(Kind.MODULE, live=module, facts=Facts(source=source, weights=weights))
