"""The base of stages that build a model of the transformers library with its weights."""

from __future__ import annotations

import contextlib
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional, Self

from pipeline.artifact import Kind
from pipeline.errors import ConfigError, Problem, StageError, listed, nearest
from pipeline.notes import Facts, Notes, Weights
from pipeline.stage import Code, FilePath, Keep, OneOf, World
from stages.interface import factory
from stages.loading import drawn, hub, sentence_folder, shards
from stages.loading import weights as weights_source
from stages.loading.pinned import SHA256, Pinned

CONFIG = "config.json"
AUTO = "auto"
DTYPES = ("float32", "float16", "bfloat16")
# Arguments of a configuration that are no fields of its class.
BESIDES = ("attn_implementation", "dtype", "experts_implementation", "model_type")
# How a mixture of experts multiplies: with the weights gathered for each token. The library's own choice calls a
# grouped product that no exporter has; the answers are the same up to rounding.
EXPERTS = "batched_mm"


class Reader(Code):
    """The dotted path of a class, or auto for the one that the folder names, whose code is only known then."""

    def settle(self, name: str, value: Any, world: World) -> Any:
        return value if value == AUTO else super().settle(name, value, world)


@dataclass(frozen=True)
class Built:
    """A model that a stage has built.

    Args:
        module: A transformers PreTrainedModel.
        facts: Where its weights came from.
        notes: Notes for the summary.
    """

    module: Any
    facts: Facts
    notes: Notes


@dataclass(frozen=True)
class Pretrained(Pinned):
    """A stage that builds by from_pretrained, or from_config where weights are random.

    No code from a model's folder is ever run.

    Args:
        factory: Dotted path of a class with from_pretrained, such as transformers.AutoModelForSequenceClassification;
            or auto, the class that the folder's config.json names. A folder of sentence-transformers then gives
            sentence embeddings, see sentence.py.
        kwargs: Fields of the model's configuration, over those of its config.json; `attn_implementation`; and `dtype`,
            float32 unless said otherwise, whatever the file holds. Random weights need a `model_type`.
        weights: A folder as save_pretrained writes it; a repository of the hub, org/name; or random.
        sha256: The SHA-256 of config.json and the weights together, see shards.digest; None accepts any.
        revision: A branch, tag or commit on the hub; None for main.
        strict: Whether the folder must have every tensor of the model, of its shape. Otherwise missing tensors stay
            random, and the summary lists them. Tensors that the model does not use are skipped and listed in any case.
        seed: The seed of random weights.

    Source: https://huggingface.co/docs/transformers/main_classes/model
    """

    factory: Annotated[str, Reader()]
    kwargs: dict[str, Any]
    weights: Annotated[str, FilePath(("random",))]
    # OmegaConf 2.3 reads Optional, not X | None.
    sha256: Annotated[Optional[str], SHA256]
    revision: Optional[str]
    strict: bool
    seed: int

    produces: ClassVar[Kind | str] = Kind.MODULE
    requires: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    keep: ClassVar[Keep] = Keep.MEMORY

    def conflicts(self) -> Iterator[Problem]:
        yield from weights_source.unpinnable(self.weights, self.sha256, "FOLDER")
        if self.weights == "random" and "model_type" not in self.kwargs:
            allowed = "a model_type of transformers, and fields of its configuration"
            command = "'+model.kwargs={model_type: bert, num_hidden_layers: 2}', or model.weights=FOLDER"
            yield Problem("weights is random, but kwargs has no model_type", allowed, command)
        if self.weights == "random" and self.factory == AUTO:
            wrong, allowed = (
                "weights is random, and factory is auto: no folder names a class",
                "a class of transformers",
            )
            yield Problem(wrong, allowed, "model.factory=transformers.AutoModel")
        if "/" in str(attention := self.kwargs.get("attn_implementation", "")):
            wrong = f"kwargs.attn_implementation is {attention}, which is code from the hub"
            yield Problem(wrong, allowed="one of the library's own: eager, sdpa")
        yield from OneOf(DTYPES).problems("kwargs.dtype", self.kwargs.get("dtype", DTYPES[0]))

    def settle(self, world: World) -> Self:
        settled = super().settle(world)
        if settled.weights == "random":
            return settled
        return replace(settled, factory=_class(self.factory, Path(settled.weights)))

    def located(self, world: World) -> tuple[Path, str] | None:
        if self.weights == "random":
            return None
        folder = self._folder(world)
        digest = self._digest(folder, _class(self.factory, folder), lambda f: weights_source.file_digest(f, world))
        _refuse_code(folder)
        return folder, digest

    def _digest(self, folder: Path, made_by: str, one: Callable[[Path], str]) -> str:
        """The digest of config.json and the weights; for sentence-transformers, of the folder's modules too."""
        files = _files(folder)
        if made_by != sentence_folder.FACTORY:
            return shards.digest(files, one)
        return shards.digest([*files, *sentence_folder.files(folder)], one, folder)

    def identity(self, world: World) -> Mapping[str, Any]:
        drawn = {"seed": self.seed} if self.weights == "random" or not self.strict else {}
        code, weights = dict(world.code(self.factory)), {"sha256": self.sha256, **drawn}
        return {"factory": self.factory, "code": code, "kwargs": self.kwargs, "weights": weights}

    def describe(self) -> str:
        return str(self._provenance()["says"])

    def built(self) -> Built:
        """Builds the model. Raises ConfigError and StageError for what transformers does not take."""
        import torch

        task = factory.find(self.factory)
        missing: list[str] = []  # what the weights lack
        unused: list[str] = []  # what the model does not take of them
        with torch.random.fork_rng(devices=[]), _quiet():
            torch.manual_seed(self.seed)
            if self.weights == "random":
                module = self._drawn(task)
            else:
                module, missing, unused = self._loaded(task)
        module.config.name_or_path = ""  # a folder of this machine
        gathers = "experts_implementation" not in self.kwargs and _has_experts(module)
        if gathers:
            module.set_experts_implementation(EXPERTS)
        if self.weights == "random":
            drawn.enliven(module, self.seed)
        size = weights_source.size(module)
        weights = self._provenance()
        if missing:
            weights["says"] += f"; {len(missing)} of its {len(module.state_dict())} tensors UNTRAINED"
        caution = f"the weights lack these, which are random: {listed(missing)}" if missing else ""
        says = [hub.origin(Path(self.weights) / CONFIG)] if self.weights != "random" else []
        says += [f"not used: {listed(unused, 3)}"] if unused else []
        says += [f"experts by {EXPERTS}"] if gathers else []
        notes = Notes(says=", ".join(filter(None, [type(module).__name__, *says])), caution=caution)
        source: dict[str, Any] = {"factory": self.factory, "kwargs": self.kwargs, "bytes": size}
        return Built(module, Facts(source=source, weights=weights), notes)

    def _drawn(self, task: Any) -> Any:
        """The model with random weights. Raises ConfigError: everything comes from the configuration."""
        from transformers import AutoConfig

        try:
            config = AutoConfig.for_model(**{k: v for k, v in self.kwargs.items() if k != "dtype"})
            self._refuse_unknown(config)
            build = getattr(task, "from_config", None) or task._from_config
            return build(config).to(self._dtype)
        except ConfigError:
            raise
        except Exception as e:  # configurations validate themselves with errors of their own kinds
            raise ConfigError(
                f"factory {self.factory} does not accept kwargs {self.kwargs}: {factory.message_of(e)}",
                command="'+model.kwargs={model_type: …}'",
            ) from e

    def _loaded(self, task: Any) -> tuple[Any, list[str], list[str]]:
        """The model with the folder's weights, the tensors that these lack, and those not used. Raises StageError."""
        from transformers import AutoConfig

        folder = Path(self.weights)
        files = _files(folder)
        weights_source.expect(folder, str(self.sha256), self._digest(folder, self.factory, weights_source.content))
        settings = {k: v for k, v in self.kwargs.items() if k not in ("dtype", "model_type")}
        local = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._refuse_unknown(AutoConfig.from_pretrained(folder, **local))
            config = AutoConfig.from_pretrained(folder, **local, **settings)
            module, info = task.from_pretrained(
                folder,
                **local,
                config=config,
                dtype=self._dtype,
                use_safetensors=".safetensors" in files[1].name,
                ignore_mismatched_sizes=True,  # reported below, with all the rest
                output_loading_info=True,
            )
        except ConfigError:
            raise
        except Exception as e:  # readers raise anything on a damaged file
            raise StageError(
                f"factory {self.factory} cannot load {listed(f.name for f in files)}: {factory.message_of(e)}",
                allowed="a folder as save_pretrained writes it, of a model that the factory knows",
                command="compare the files' SHA-256 with the originals'",
            ) from e
        shapes = {
            k: f"{k} is {tuple(a)} in the file and {tuple(b)} in the model" for k, a, b in info["mismatched_keys"]
        }
        missing = sorted(info["missing_keys"])
        unfilled = [*missing, *sorted(shapes)]
        if info["error_msgs"] or (unfilled and self.strict):
            wrong = {"has tensors of another shape": sorted(shapes.values()), "lacks tensors of the model": missing}
            raise StageError(
                [
                    Problem(
                        f"weights={folder.name} {what}: {listed(keys)}",
                        command="a factory for the task that the weights are of; "
                        "model.strict=false leaves the rest random",
                    )
                    for what, keys in {**wrong, "cannot be loaded": info["error_msgs"]}.items()
                    if keys
                ]
            )
        return module, unfilled, sorted(info["unexpected_keys"])

    def _refuse_unknown(self, config: Any) -> None:
        """Raises ConfigError for kwargs that are no fields: a configuration would accept any name."""
        from transformers import PreTrainedConfig

        kind = type(config)
        fields = {*inspect.signature(kind).parameters, *inspect.signature(PreTrainedConfig).parameters}
        fields |= {*kind.attribute_map, *BESIDES, *(n for n in dir(kind) if isinstance(getattr(kind, n), property))}
        if unknown := [k for k in self.kwargs if k not in fields]:
            raise ConfigError(
                [Problem(f"kwargs.{k} is no field of {kind.__name__}{nearest(k, fields)}") for k in unknown]
            )
        if (model_type := self.kwargs.get("model_type", config.model_type)) != config.model_type:
            raise ConfigError(
                f"kwargs.model_type is {model_type}, but {CONFIG} says {config.model_type}",
                command="'~model.kwargs.model_type'",
            )

    @property
    def _dtype(self) -> Any:
        import torch

        return getattr(torch, self.kwargs.get("dtype", DTYPES[0]))

    def _folder(self, world: World) -> Path:
        """The folder with the weights, downloaded if needed. Raises ConfigError."""
        folder = Path(self.weights).expanduser()
        if folder.is_dir():
            return folder
        if not re.fullmatch(hub.NAME, self.weights):
            raise ConfigError(
                f"weights={self.weights} is no folder",
                allowed="a folder as save_pretrained writes it, a repository of the hub (org/name), or random",
                command="model.weights=/path/to/folder",
            )
        try:
            return hub.obtain(self.weights, self.revision, world, config=True, again=True).parent
        except LookupError as e:
            raise ConfigError(
                f"weights={self.weights} is no folder here, and not available from the hub: {e}",
                command="download it elsewhere, then model.weights=/path/to/folder; or model.weights=random",
            ) from e

    def _provenance(self) -> Weights:
        """Where the weights came from, for the artifact's facts: digests and names, no path."""
        if self.weights != "random":
            return {"trained": True, "sha256": self.sha256, "says": f"from files with SHA-256 {self.sha256}"}
        says = f"UNTRAINED: drawn at random with seed {self.seed}. For trained ones: model.weights=/path/to/folder"
        return {"trained": False, "seed": self.seed, "says": says}


def _has_experts(module: Any) -> bool:
    """Whether a model, or one inside it, is a mixture of experts whose kind of product can be chosen."""
    return any(getattr(part, "_can_set_experts_implementation", lambda: False)() for part in module.modules())


def _class(factory_path: str, folder: Path) -> str:
    """The dotted path of the class that reads a folder: the setting, or for auto, the class that the folder names.

    Raises ConfigError where it names none.
    """
    if factory_path != AUTO:
        return factory_path
    if sentence_folder.is_sentence(folder):
        return sentence_folder.FACTORY
    config = read(folder)
    if not (names := config.get("architectures")):
        kind = config.get("model_type", "")
        raise ConfigError(
            f"weights={folder}: {CONFIG} names no class under architectures",
            allowed="a class of transformers that reads it",
            command="model.factory=transformers.AutoModel" + (f" for the {kind} without a head" if kind else ""),
        )
    return f"transformers.{names[0]}"


def read(folder: Path) -> dict[str, Any]:
    """Reads a folder's config.json. Raises ConfigError where it is damaged."""
    try:
        config = json.loads((folder / CONFIG).read_text())
        config.get("auto_map")
    except (ValueError, AttributeError) as e:
        raise ConfigError(
            f"weights={folder}: {CONFIG} is damaged: {e}", command="compare its SHA-256 with the original's"
        ) from e
    return dict(config)


def _files(folder: Path) -> list[Path]:
    """config.json, and the weights that from_pretrained takes. Raises ConfigError."""
    first = next((folder / n for n in hub.WEIGHTS if (folder / n).exists()), None)
    if first is None or not (folder / CONFIG).is_file():
        raise ConfigError(
            f"weights={folder} has no {CONFIG if first else 'weights'}; it holds "
            + listed(sorted(f.name for f in folder.iterdir())),
            allowed=f"a folder as save_pretrained writes it: {CONFIG} and one of {listed(hub.WEIGHTS)}",
        )
    return [folder / CONFIG, *shards.files(first)]


def _refuse_code(folder: Path) -> None:
    """Raises ConfigError for a model that is code in its folder, or an adapter to another model."""
    config = read(folder)
    if code := config.get("auto_map"):
        raise ConfigError(
            f"weights={folder}: {CONFIG} has an auto_map, so the model is code that came with the weights: {code}",
            allowed="models that the transformers library itself has",
            command="read that code, put it into a package of yours, and use model=custom model.factory=my_pkg.Net",
        )
    if other := config.get("transformers_weights"):
        raise ConfigError(
            f"weights={folder}: {CONFIG} has transformers load '{other}', a file that nothing holds to a digest",
            allowed="model.safetensors, or an index and its shards",
            command="save_pretrained() writes it again under the usual name",
        )
    if "/" in str(config.get("attn_implementation") or config.get("_attn_implementation") or ""):
        raise ConfigError(
            f"weights={folder}: {CONFIG} wants an attention that is code from the hub",
            allowed="an attn_implementation of the library's own: eager, sdpa",
        )
    if (folder / "adapter_config.json").exists():
        raise ConfigError(
            f"weights={folder} holds an adapter, which is loaded into another model",
            allowed="a whole model",
            command="merge_and_unload() in peft, then save_pretrained()",
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides transformers' progress bars and reports: the stage's notes and errors say the same."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
