"""Builds the model and loads its weights."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Optional, Self

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, Problem, nearest
from pipeline.stage import Keep, Stage, World
from stages import _weights


@dataclass(frozen=True)
class LoadWeights(Stage):
    """Calls a factory and loads a state dict into the module that it returns.

    Args:
        factory: Dotted path of a class or function that returns a torch.nn.Module.
        kwargs: Keyword arguments for the factory.
        weights: A .pth, .pt or .safetensors file with a state dict; or `pretrained` (an error when it cannot be had),
            `random` (drawn with `seed`, see _weights.enliven); `auto` (pretrained if cached or downloadable, else
            random, and marked UNTRAINED).
        sha256: What the weights file must hash to, 64 hex digits; None accepts any.
        pretrained: Whose table of published weights `pretrained` and `auto` look in: torchvision, or None.
        seed: For random weights.
    """

    factory: str
    kwargs: dict[str, Any]
    weights: str
    sha256: Optional[str]  # noqa: UP045 (OmegaConf 2.3 reads Optional, not X | None)
    pretrained: Optional[str]  # noqa: UP045
    seed: int

    produces: ClassVar[Kind | str] = Kind.MODULE
    requires: ClassVar[tuple[str, ...]] = ("torch",)
    keep: ClassVar[Keep] = Keep.MEMORY

    def problems(self) -> list[Problem]:
        found = []
        if self.sha256 is not None and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            found.append(
                Problem(f"sha256 is {self.sha256}", allowed="64 hex digits, or null", command="model.sha256=null")
            )
        elif self.sha256 is not None and self.weights == "random":
            found.append(
                Problem("sha256 is pinned, but weights is random", command="model.sha256=null, or weights=FILE")
            )
        if self.pretrained not in (None, "torchvision"):
            found.append(Problem(f"pretrained is {self.pretrained}", allowed="torchvision, or null"))
        if self.weights == "pretrained" and not self._published():
            found += [
                Problem(
                    f"weights is pretrained, but no published weights are known for {self.factory} ({self._called()})",
                    allowed="a file, or random",
                    command="model.weights=/path/to/weights.pth",
                )
            ]
        return found

    def settle(self, world: World) -> Self:
        """Turns `auto` and `pretrained` into a file or into random, and a file into its content."""
        world.code(self.factory)  # raises when there is no such module
        if self.weights == "random":
            return self
        path = Path(self.weights).expanduser()
        if self.weights in _weights.SOURCES:
            found = self._obtain(world)
            if found is None and self.sha256 is not None:
                raise ConfigError(
                    f"sha256 is pinned to {self.sha256}, but no weights file can be had for {self._called()}",
                    command="model.weights=/path/to/weights.pth",
                )
            if found is None:
                return replace(self, weights="random")
            path = found
        digest = _weights.file_digest(path, world)
        if self.sha256 not in (None, digest):
            raise ConfigError(
                f"weights={path} has SHA-256 {digest}, the configuration says {self.sha256}",
                command=f"model.sha256={digest} if the new content is meant",
            )
        return replace(self, weights=str(path.absolute()), sha256=digest)

    def identity(self, world: World) -> Mapping[str, Any]:
        drawn = {"random": self.seed} if self.weights == "random" else {"sha256": self.sha256}
        return {
            "factory": self.factory,
            "code": dict(world.code(self.factory)),
            "kwargs": self.kwargs,
            "weights": drawn,
            # torchvision's builders do more than load the file when they are asked for their own weights.
            "published": self._is_published_file(),
        }

    def describe(self) -> str:
        return str(self._provenance()["says"])

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        import torch

        if self.weights != "random" and self.sha256 is not None:
            _weights.expect(Path(self.weights), self.sha256)
        if self.weights != "random" and not self._is_published_file():
            state = _weights.read(Path(self.weights))
            module = self._build(torch)
            _weights.load_into(module, state, f"weights={Path(self.weights).name}")
        else:
            module = self._build(torch)
            if self.weights == "random":
                _weights.enliven(module, self.seed)
        size = sum(t.numel() * t.element_size() for t in module.state_dict().values())
        source = {"factory": self.factory, "kwargs": self.kwargs, "bytes": size}
        return Artifact(Kind.MODULE, live=module, facts={"source": source, "weights": self._provenance()})

    def _build(self, torch: Any) -> Any:
        """The module, its random parameters drawn with the seed and without disturbing the caller's generator."""
        module_path, _, name = self.factory.rpartition(".")
        try:
            home = importlib.import_module(module_path)
        except (ImportError, ValueError) as e:  # a ValueError when there is no dot in it
            raise ConfigError(f"factory {self.factory} cannot be imported: {e}") from e
        if not callable(factory := getattr(home, name, None)):
            raise ConfigError(
                f"factory {self.factory}: {module_path} has no '{name}' to call{nearest(name, vars(home))}",
                command="model.factory=my_package.net.Net",
            )
        arguments = {**self.kwargs, "weights": "DEFAULT"} if self._is_published_file() else self.kwargs
        with torch.random.fork_rng(devices=[]), _forced_weights_only():
            torch.manual_seed(self.seed)
            try:
                module = factory(**arguments)
            except (TypeError, ValueError) as e:
                raise ConfigError(
                    f"factory {self.factory} does not accept kwargs {arguments}: {e}", command="'model.kwargs={…}'"
                ) from e
        if not isinstance(module, torch.nn.Module):
            raise ConfigError(f"factory {self.factory} returned {type(module).__name__}", allowed="a torch.nn.Module")
        return module

    def _obtain(self, world: World) -> Path | None:
        """The published weights, downloaded if need be; None for `auto` that cannot have them. Raises ConfigError."""
        file = self._published()
        if file is None:
            return None
        path = _weights.cached(file)
        must = self.weights == "pretrained"
        why = "a plan downloads nothing"
        if not path.exists() and world.may_fetch:
            why = _weights.fetch(file, world, again=must)
        if path.exists():
            try:
                _weights.refuse_unless_named(path, _weights.file_digest(path, world))
            except ValueError as e:
                raise ConfigError(f"{path} is damaged: {e}", command=f"rm {path}") from e
            return path
        if must:
            raise ConfigError(
                f"weights is pretrained, but {_weights.TORCHVISION_URL}{file} cannot be had: {why}",
                command=f"download it elsewhere, then model.weights=/path/to/{file}; or model.weights=random",
            )
        return None

    def _published(self) -> str | None:
        return _weights.pretrained_file(self.pretrained, self._called())

    def _called(self) -> str:
        return str(self.kwargs.get("name", self.factory.rpartition(".")[2]))

    def _is_published_file(self) -> bool:
        file = self._published()
        return file is not None and Path(self.weights) == _weights.cached(file).absolute()

    def _provenance(self) -> dict[str, Any]:
        """Where the weights came from, fit to travel in the artifact: contents and names, no path."""
        if self.weights != "random":
            return {"trained": True, "sha256": self.sha256, "says": f"from a file with SHA-256 {self.sha256}"}
        file = self._published()
        remedy = f"model.weights=/path/to/{file or 'weights.pth'}"
        return {
            "trained": False,
            "seed": self.seed,
            "says": f"UNTRAINED: drawn at random with seed {self.seed}. For trained ones: {remedy}",
        }


@contextlib.contextmanager
def _forced_weights_only() -> Iterator[None]:
    """While published weights load: torchvision's loader would unpickle whatever the file holds.

    torch reads TORCH_FORCE_WEIGHTS_ONLY_LOAD on every load (torch/serialization.py).
    """
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
