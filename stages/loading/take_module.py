"""Takes a module from the memory of the program."""

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

# The modules that are available now, by handle; equal modules of several threads share one.
_HANDED: dict[str, list[Any]] = {}


@dataclass(frozen=True)
class TakeModule(Stage):
    """Copies the module that was passed to `handed`, so that the caller's module stays unchanged.

    Args:
        handle: What `handed` returned: the digest of the module's code, attributes and state.
    """

    handle: Annotated[str, Matches("[0-9a-f]{64}", "64 hex digits", "pipeline.convert(module, …) fills it in")]

    produces: ClassVar[Kind | str] = Kind.MODULE
    requires: ClassVar[tuple[str, ...]] = ("torch",)
    keep: ClassVar[Keep] = Keep.MEMORY

    @staticmethod
    @contextlib.contextmanager
    def handed(module: Any, code: in_memory.Code) -> Iterator[str]:
        """Makes a torch.nn.Module available within the block, under the handle for `model.handle`.

        Equal modules have equal handles, in other processes too. A module with an attribute that cannot be identified
        by its content has a new handle each time, so that no result of another module is used for it.

        Args:
            module: It is copied, and stays unchanged.
            code: World.code.

        Raises ConfigError for TorchScript, which is opened from a file.
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
        """Raises ConfigError for a handle without a module in this process."""
        if not _HANDED.get(self.handle):
            raise ConfigError(
                "model=live is a module in the memory of a Python program, and this is not that program",
                command="pipeline.convert(module, …) in it; or model=custom model.factory=… model.weights=FILE",
            )
        return self

    def describe(self) -> str:
        return "in memory"

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        original = _HANDED[self.handle][-1]
        try:
            module = copy.deepcopy(original).cpu()
        except Exception as e:  # a module may hold anything
            raise StageError(
                f"{type(original).__name__} cannot be copied: {factory.message_of(e)}",
                allowed="a module that copy.deepcopy takes, since a conversion must leave yours as it is",
            ) from e
        factory.refuse_cycles(module, type(original).__name__)
        size = weights_source.size(module)
        source = {"class": f"{type(original).__module__}.{type(original).__qualname__}", "bytes": size}
        weights = Weights(trained=True, sha256=None, says="as the program had them in memory")
        return Artifact(Kind.MODULE, live=module, facts=Facts(source=source, weights=weights))
