"""Builds the model and loads its weights."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, DrydockError, Problem, StageError
from pipeline.notes import Facts, Notes, Weights
from pipeline.stage import Code, FilePath, Keep, OneOf, World
from stages.interface import factory, objects
from stages.loading import builders, checkpoint, drawn, hub, shards
from stages.loading import weights as weights_source
from stages.loading.forms import lightning
from stages.loading.pinned import SHA256, Pinned

TABLES = ("torchvision", "timm")


@dataclass(frozen=True)
class LoadWeights(Pinned):
    """Calls a factory and loads a state dict into the module that it returns.

    Args:
        factory: Dotted path of a class or function that returns a torch.nn.Module.
        kwargs: Keyword arguments for the factory; mappings with `_target_` are built first, see interface/objects.py.
        weights: A .pth, .pt, .bin or .safetensors file with a state dict; an index of shards, or a folder with one; or
            `pretrained` (an error when they are not available), `random` (drawn with `seed`, see drawn.enliven);
            `auto` (pretrained if cached or downloadable, else random, and marked UNTRAINED).
        sha256: The SHA-256 that the weights file must have, 64 hex digits; None accepts any. For shards, see
            shards.digest.
        pretrained: Whose published weights `pretrained` and `auto` look for: torchvision, timm, or None.
        checkpoint_key: Where in the file the state dict is, as in `ema.state_dict`; None to look for it.
        prefixes: Prefixes that wrappers put before each key; stripped if keys then fit.
        strict: Whether the file must have every key of the model and no other. Otherwise what fits is loaded, the rest
            stays random, and the summary says which.
        seed: The seed of random weights.
    """

    factory: Annotated[str, Code()]
    kwargs: dict[str, Any]
    weights: Annotated[str, FilePath(weights_source.SOURCES)]
    # OmegaConf 2.3 reads Optional, not X | None.
    sha256: Annotated[Optional[str], SHA256]
    pretrained: Annotated[Optional[str], OneOf(TABLES, f"{', '.join(TABLES)}, or null")]
    checkpoint_key: Optional[str]
    prefixes: list[str]
    strict: bool
    seed: int

    produces: ClassVar[Kind | str] = Kind.MODULE
    requires: ClassVar[tuple[str, ...]] = ("torch",)
    keep: ClassVar[Keep] = Keep.MEMORY

    def modules(self, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
        home = self.factory.partition(".")[0]
        return (*super().modules(kinds), home) if home in TABLES else super().modules(kinds)

    def conflicts(self) -> Iterator[Problem]:
        yield from builders.problems(self.factory, self.kwargs)
        for place, part in objects.described(self.kwargs, "kwargs"):
            yield from builders.problems(part[objects.TARGET], part, place)
        yield from weights_source.unpinnable(self.weights, self.sha256, "FILE")
        if "" in self.prefixes:
            yield Problem("prefixes has an empty one", command="'model.prefixes=[module.]'")
        if self.weights == "pretrained" and self.pretrained != "timm" and not self._file():
            yield self._unpublished()

    def located(self, world: World) -> tuple[Path, str] | None:
        """For `auto` and `pretrained` the published file that they mean, or None."""
        if self.weights == "random":
            return None
        path: Path | None = Path(self.weights).expanduser()
        if self.weights in weights_source.SOURCES:
            path = self._from_hub(world) if self.pretrained == "timm" else self._from_torchvision(world)
        if path is None and self.sha256 is not None:
            wrong = f"sha256 is pinned to {self.sha256}, but no weights file is available for {self._called}"
            raise ConfigError(wrong, command="model.weights=/path/to/weights.pth")
        if path is None:
            return None
        files = shards.files(path)
        return files[0], shards.digest(files, lambda f: weights_source.file_digest(f, world))

    def identity(self, world: World) -> Mapping[str, Any]:
        how: dict[str, Any] = {"random": self.seed}
        if self.weights != "random":
            # The libraries' builders do more than load the file when they load their own published weights.
            how = {"sha256": self.sha256, "published": self._is_published}
            how |= {"key": self.checkpoint_key, "prefixes": self.prefixes}
            how |= {} if self.strict else {"seed": self.seed}  # for what the file leaves random
        code = dict(world.code(self.factory))
        inside = {path: dict(world.code(path)) for path in sorted(objects.targets(self.kwargs))}
        built = {"built": inside} if inside else {}
        return {"factory": self.factory, "code": code, "kwargs": self.kwargs, "weights": how, **built}

    def describe(self) -> str:
        return str(self._provenance()["says"])

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        says, mismatch = "", checkpoint.Mismatch()
        if self.weights == "random":
            module = self._build()
            drawn.enliven(module, self.seed)
        elif self._is_published:
            module, mismatch = self._built_by_its_library(self._read())
        else:
            content = self._read()
            with self._hinting(content):
                module = self._build()
                picked = checkpoint.pick(content, self.checkpoint_key, self.prefixes, module.state_dict(), self._origin)
                mismatch = checkpoint.load_into(module, picked.state, self._origin, strict=self.strict)
            drawn.enliven(module, self.seed, only=mismatch.drawn)
            says = picked.says
        size = weights_source.size(module)
        source = {"factory": self.factory, "kwargs": self.kwargs, "bytes": size}
        weights = self._provenance()
        if mismatch.drawn:
            weights["says"] += f"; {len(mismatch.drawn)} of its {len(module.state_dict())} tensors UNTRAINED"
        notes: Notes = {"says": says} if says else {}
        if mismatch.caution:
            notes["caution"] = mismatch.caution
        return Artifact(Kind.MODULE, live=module, facts=Facts(source=source, weights=weights), notes=notes)

    def _read(self) -> Any:
        """Reads the file, after a check that its content is still that of the key."""
        files = shards.files(Path(self.weights))
        if self.sha256 is not None:
            weights_source.expect(files[0], self.sha256, shards.digest(files, weights_source.content))
        return checkpoint.read(files)

    @contextlib.contextmanager
    def _hinting(self, content: Any) -> Iterator[None]:
        """Adds to an error the arguments that the checkpoint records for its module."""
        try:
            yield
        except DrydockError as e:
            if hints := [*lightning.hint(content, self.kwargs, self._takes)]:
                raise type(e)([*e.problems, *hints]) from e
            raise

    def _takes(self, name: str) -> bool:
        """Whether the factory has a parameter of that name; False for one that cannot be inspected."""
        with contextlib.suppress(ConfigError, TypeError, ValueError):
            return name in inspect.signature(factory.find(self.factory)).parameters
        return False

    def _build(self) -> Any:
        extra = builders.plain(self.factory, self.kwargs)
        return factory.build(self.factory, self.kwargs, self.seed, extra, objects.built)

    def _built_by_its_library(self, state: Any) -> tuple[Any, checkpoint.Mismatch]:
        """Builds the model with published weights, without those of a head of another size."""
        if not checkpoint.is_state(state):
            raise StageError(f"{self._origin} holds no state dict", command=f"rm {self.weights}, and run again")
        with builders.published(self.factory, state) as extra:
            module = factory.build(self.factory, self.kwargs, self.seed, extra, objects.built)
        mismatch = builders.left_out(module)
        if mismatch.drawn and self.strict:
            raise StageError(
                f"the published weights do not fill all of {self._called}: {mismatch.caution}",
                command="model.strict=false leaves the rest random; or leave kwargs as they were published",
            )
        drawn.enliven(module, self.seed, only=mismatch.drawn)
        return module, mismatch

    @property
    def _origin(self) -> str:
        return f"weights={Path(self.weights).name}"

    def _from_torchvision(self, world: World) -> Path | None:
        """The published weights, downloaded if needed; None if `auto` cannot get them. Raises ConfigError."""
        file = self._file()
        if file is None:
            return None
        path = weights_source.cached(file)
        must = self.weights == "pretrained"
        why = "a plan downloads nothing"
        if not path.exists() and world.may_fetch:
            why = weights_source.fetch(file, world, again=must)
        if path.exists():
            try:
                weights_source.refuse_unless_named(path, weights_source.file_digest(path, world))
            except ValueError as e:
                raise ConfigError(f"{path} is damaged: {e}", command=f"rm {path}") from e
            return path
        if must:
            raise ConfigError(
                f"weights is pretrained, but {weights_source.TORCHVISION_URL}{file} is not available: {why}",
                command=f"download it elsewhere, then model.weights=/path/to/{file}; or model.weights=random",
            )
        return None

    def _from_hub(self, world: World) -> Path | None:
        """The published weights of a timm model."""
        must = self.weights == "pretrained"
        repo = hub.timm_repo(self._called, world)
        if repo is None and must:
            raise ConfigError([self._unpublished()])
        if repo is None:
            return None
        try:
            return hub.obtain(repo, None, world, config=False, again=must)
        except LookupError as e:
            if must:
                raise ConfigError(
                    f"weights is pretrained, but those of {repo} are not available: {e}",
                    command="download them elsewhere, then model.weights=/path/to/model.safetensors; "
                    "or model.weights=random",
                ) from e
            return None

    def _file(self) -> str | None:
        return weights_source.pretrained_file(self.pretrained, self._called)

    @property
    def _called(self) -> str:
        return builders.called(self.factory, self.kwargs)

    def _unpublished(self) -> Problem:
        return Problem(
            f"weights is pretrained, but no published weights are known for {self.factory} ({self._called})",
            allowed="a file, or random",
            command="model.weights=/path/to/weights.pth",
        )

    @property
    def _is_published(self) -> bool:
        """Whether the file is the one that the library would download, by its content or its place in the cache."""
        if self.weights == "random" or self.sha256 is None:
            return False
        if self.pretrained == "timm":
            published = hub.origin(Path(self.weights)).partition("@")[0].partition(".")[0]
            return published == f"timm/{self._called.partition('.')[0]}"
        file = self._file()
        return file is not None and self.sha256.startswith(weights_source.promised(file))

    def _provenance(self) -> Weights:
        """Where the weights came from, for the artifact's facts: digests and names, no path."""
        if self.weights != "random":
            return {"trained": True, "sha256": self.sha256, "says": f"from a file with SHA-256 {self.sha256}"}
        remedy = f"model.weights=/path/to/{self._file() or 'weights.pth'}"
        return {
            "trained": False,
            "seed": self.seed,
            "says": f"UNTRAINED: drawn at random with seed {self.seed}. For trained ones: {remedy}",
        }
