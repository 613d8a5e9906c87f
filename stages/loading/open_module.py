"""Opens a file that holds a whole model, if the configuration names its SHA-256."""

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

# Operators that stay in training mode in a program captured so, and the index of the argument that says it.
TRAINING = {"aten.dropout.default": 2, "aten.feature_dropout.default": 2, "aten.batch_norm.default": 5}


@dataclass(frozen=True)
class OpenModule(Stage):
    """Opens TorchScript, an ExportedProgram (.pt2), or a whole module pickled by torch.save, recognised by content.

    Loading such a file can run code. So it is loaded only if the configuration names its SHA-256, and exactly the
    hashed bytes are loaded.

    Args:
        weights: The file.
        sha256: Its SHA-256, 64 hex digits: stating it allows the file to run code.

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
        kind, names = _recognised(path, digest)
        if self.sha256 != digest:
            pinned = f"; the configuration says {self.sha256}" if self.sha256 else ""
            imports = [n for n in names if not archive.holds_tensors_only([n])]
            wants = f". What it wants to import: {listed(imports)}" if imports else ""
            raise ConfigError(
                f"weights={path} ({kind}) can run any code when it is loaded. Its SHA-256 is {digest}{pinned}",
                allowed=f"a file whose SHA-256 the configuration names{wants}",
                command=f"model.sha256={digest} if you trust where it came from",
            )
        settled = replace(self, weights=str(path))
        settled.identity(world)  # raises when the code of a pickled class is missing
        return settled

    def identity(self, world: World) -> Mapping[str, Any]:
        """The file's content; and for a pickle, which holds no code, the code of the classes that it names."""
        _, names = _recognised(Path(self.weights), str(self.sha256))
        tops = {n.partition(".")[0] for n in names} - {"torch", "__main__"} - sys.stdlib_module_names
        return {**super().identity(world), "code": {top: dict(world.code(top)) for top in sorted(tops)}}

    def describe(self) -> str:
        return self._says

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        path = Path(self.weights)
        data = path.read_bytes()
        weights_source.expect(path, str(self.sha256), hashlib.sha256(data).hexdigest())
        kind = archive.format_of(io.BytesIO(data))
        module = self._loaded(kind, data)
        factory.refuse_cycles(module, f"the module in {path.name}")
        size = weights_source.size(module)
        weights = Weights(trained=True, sha256=self.sha256, says=self._says)
        facts = Facts(source={"file": str(kind), "bytes": size}, weights=weights)
        return Artifact(Kind.MODULE, live=module, facts=facts, notes={"says": str(kind)})

    def _loaded(self, kind: Format, data: bytes) -> torch.nn.Module:
        import torch

        name = Path(self.weights).name
        try:
            if kind is Format.TORCHSCRIPT:
                return torch.jit.load(io.BytesIO(data), map_location="cpu")  # type: ignore[no-untyped-call, no-any-return]
            if kind is Format.PROGRAM:
                return _as_module(program_file.read(io.BytesIO(data), f"weights={name} ({kind})"), name)
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)
        except StageError:
            raise
        except Exception as e:  # unpickling runs anybody's code
            raise StageError(
                f"weights={name} ({kind}) cannot be loaded: {factory.message_of(e)}",
                command="load it where it was saved, and save it again with the versions that are installed here",
            ) from e
        if not isinstance(content, torch.nn.Module):
            raise StageError(f"weights={name} holds {type(content).__name__}, no torch.nn.Module", command=FOR_WEIGHTS)
        return content

    @property
    def _says(self) -> str:
        return f"from a file with SHA-256 {self.sha256}"


FOR_WEIGHTS = "weights alone go to their class: model=custom model.factory=my_pkg.net.Net model.weights=FILE"


@functools.cache
def _recognised(path: Path, digest: str) -> tuple[Format, list[str]]:
    """The format of a file, and the classes it names if it is a pickle. Raises ConfigError for a file without a model.

    Args:
        path: The file.
        digest: Its SHA-256, so that the cached result is right.
    """
    try:
        with path.open("rb") as f:
            kind = archive.format_of(f)
            names = archive.classes(f) if kind is Format.PICKLE else []
    except ValueError as e:
        raise ConfigError(
            f"weights={path} holds no model that torch wrote: {e}",
            allowed="a TorchScript file, an ExportedProgram (.pt2), or a module saved whole by torch 1.6 or later",
            command="compare its size and SHA-256 with the original's",
        ) from e
    if kind is Format.SAFETENSORS or (kind is Format.PICKLE and archive.holds_tensors_only(names)):
        raise ConfigError(f"weights={path} holds weights and no model", command=FOR_WEIGHTS)
    if local := [n for n in names if n.startswith("__main__.")]:
        raise ConfigError(
            f"weights={path} is of {listed(local)}, which was defined in the script that saved it",
            allowed="a module whose class can be imported",
            command="move the class into a module, and save it again; or its weights alone. " + FOR_WEIGHTS,
        )
    return kind, names


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
