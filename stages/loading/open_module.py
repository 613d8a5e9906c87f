"""Opens a file that holds a whole model, once its content has been named."""

from __future__ import annotations

import functools
import hashlib
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Optional, Self

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, StageError, listed
from pipeline.notes import Facts, Weights
from pipeline.stage import FilePath, Keep, Matches, Stage, World
from stages.capture import program_file
from stages.interface import factory
from stages.loading import archive
from stages.loading import weights as weights_source
from stages.loading.archive import Format

if TYPE_CHECKING:
    import torch

# Operators that a program captured in training mode keeps on training, and where they say so.
TRAINING = {"aten.dropout.default": 2, "aten.feature_dropout.default": 2, "aten.batch_norm.default": 5}


@dataclass(frozen=True)
class OpenModule(Stage):
    """A TorchScript file, an ExportedProgram (.pt2), or a module that torch.save pickled whole; told by its content.

    Loading one can run code, so none is loaded unless the configuration names its SHA-256; and the very
    bytes that were hashed are what is loaded.

    Args:
        weights: The file.
        sha256: What it hashes to, 64 hex digits: whoever writes this says that the file may run code.

    Source: https://docs.pytorch.org/docs/stable/notes/serialization.html
    """

    weights: Annotated[str, FilePath()]
    sha256: Annotated[Optional[str], Matches("[0-9a-f]{64}", "64 hex digits", "sha256sum prints them")]

    produces: ClassVar[Kind | str] = Kind.MODULE
    requires: ClassVar[tuple[str, ...]] = ("torch",)
    consent: ClassVar[str | None] = "sha256"
    keep: ClassVar[Keep] = Keep.MEMORY

    def settle(self, world: World) -> Self:
        """Refuses a file whose content the configuration does not name. Raises ConfigError."""
        path = Path(self.weights).expanduser().absolute()
        digest = weights_source.file_digest(path, world)
        held, named = _looked_at(path, digest)
        if self.sha256 != digest:
            pinned = f"; the configuration says {self.sha256}" if self.sha256 else ""
            imports = [n for n in named if not archive.holds_tensors_only([n])]
            wanted = f". What it wants to import: {listed(imports)}" if imports else ""
            raise ConfigError(
                f"weights={path} ({held}) can run any code when it is loaded. Its SHA-256 is {digest}{pinned}",
                allowed=f"a file whose SHA-256 the configuration names{wanted}",
                command=f"model.sha256={digest} if you trust where it came from",
            )
        settled = replace(self, weights=str(path))
        settled.identity(world)  # raises when the code of a pickled class is not there
        return settled

    def identity(self, world: World) -> Mapping[str, Any]:
        """The content; and for a pickle, which holds no code, that of the classes it names."""
        _, named = _looked_at(Path(self.weights), str(self.sha256))
        tops = {n.partition(".")[0] for n in named} - {"torch", "__main__"} - sys.stdlib_module_names
        return {**super().identity(world), "code": {top: dict(world.code(top)) for top in sorted(tops)}}

    def describe(self) -> str:
        return self._says

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        path = Path(self.weights)
        data = path.read_bytes()
        weights_source.expect(path, str(self.sha256), hashlib.sha256(data).hexdigest())
        held = archive.format_of(io.BytesIO(data))
        module = self._loaded(held, data)
        factory.refuse_cycles(module, f"the module in {path.name}")
        size = weights_source.size(module)
        weights = Weights(trained=True, sha256=self.sha256, says=self._says)
        facts = Facts(source={"file": str(held), "bytes": size}, weights=weights)
        return Artifact(Kind.MODULE, live=module, facts=facts, notes={"says": str(held)})

    def _loaded(self, held: Format, data: bytes) -> torch.nn.Module:
        import torch

        name = Path(self.weights).name
        try:
            if held is Format.TORCHSCRIPT:
                return torch.jit.load(io.BytesIO(data), map_location="cpu")  # type: ignore[no-untyped-call, no-any-return]
            if held is Format.PROGRAM:
                return _as_module(program_file.read(io.BytesIO(data), f"weights={name} ({held})"), name)
            found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)
        except StageError:
            raise
        except Exception as e:  # unpickling runs anybody's code
            raise StageError(
                f"weights={name} ({held}) cannot be loaded: {factory.told(e)}",
                command="load it where it was saved, and save it again with the versions that are installed here",
            ) from e
        if not isinstance(found, torch.nn.Module):
            raise StageError(f"weights={name} holds {type(found).__name__}, no torch.nn.Module", command=FOR_WEIGHTS)
        return found

    @property
    def _says(self) -> str:
        return f"from a file with SHA-256 {self.sha256}"


FOR_WEIGHTS = "weights alone go to their class: model=custom model.factory=my_pkg.net.Net model.weights=FILE"


@functools.cache
def _looked_at(path: Path, digest: str) -> tuple[Format, list[str]]:
    """What a file is, and the classes it names if it is a pickle. Raises ConfigError for what holds no model.

    Args:
        path: The file.
        digest: Its SHA-256: what it stands for never changes.
    """
    try:
        with path.open("rb") as f:
            held = archive.format_of(f)
            named = archive.classes(f) if held is Format.PICKLE else []
    except ValueError as e:
        raise ConfigError(
            f"weights={path} holds no model that torch wrote: {e}",
            allowed="a TorchScript file, an ExportedProgram (.pt2), or a module saved whole by torch 1.6 or later",
            command="compare its size and SHA-256 with the original's",
        ) from e
    if held is Format.SAFETENSORS or (held is Format.PICKLE and archive.holds_tensors_only(named)):
        raise ConfigError(f"weights={path} holds weights and no model", command=FOR_WEIGHTS)
    if local := [n for n in named if n.startswith("__main__.")]:
        raise ConfigError(
            f"weights={path} is of {listed(local)}, which was defined in the script that saved it",
            allowed="a module whose class can be imported",
            command="move the class into a module, and save it again; or its weights alone. " + FOR_WEIGHTS,
        )
    return held, named


def _as_module(program: Any, name: str) -> torch.nn.Module:
    """A program as a module that can be put in evaluation mode. Raises StageError when it was captured in training."""
    nodes = [n for n in program.graph.nodes if str(n.target) in TRAINING and len(n.args) > TRAINING[str(n.target)]]
    if training := sorted({str(n.target) for n in nodes if n.args[TRAINING[str(n.target)]] is True}):
        raise StageError(
            f"weights={name} was captured in training mode: {listed(training)} would go on training",
            command="torch.export.save(torch.export.export(model.eval(), …), …)",
        )
    module: torch.nn.Module = program.module()
    # Its own refuse to be called; of a program there is nothing left to switch.
    for switch in ("train", "eval"):
        vars(module).pop(switch, None)
    return module
