"""Copies the files beside a decoder's weights: configuration, tokenizer, chat template. No weights, no code."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, Problem, StageError, listed
from pipeline.notes import Notes
from pipeline.stage import FilePath, World
from stages.generation import model_folder
from stages.generation.format import MODEL_FOLDER
from stages.loading import hub, shards
from stages.loading import weights as weights_source
from stages.loading.pinned import SHA256, Pinned
from stages.portable.vendor_errors import first_line

RANDOM = "random"
# Kwargs in the YAML of a model that are no fields of its configuration.
BESIDES = ("attn_implementation", "dtype", "experts_implementation")


@dataclass(frozen=True)
class TakeFolder(Pinned):
    """Copies config.json with the model's settings, generation_config.json, and the tokenizer's files unchanged.

    Args:
        weights: The folder; a repository of the hub, org/name; or random: then there is no tokenizer, and kwargs are
            the configuration.
        kwargs: Fields of the configuration, over those of config.json.
        sha256: The SHA-256 of the files together, see shards.digest; None accepts any.
        revision: A branch, tag or commit on the hub; None for main.
        tokenizer: Whether to copy the tokenizer.
    """

    weights: Annotated[str, FilePath((RANDOM,))]
    kwargs: dict[str, Any]
    sha256: Annotated[Optional[str], SHA256]
    revision: Optional[str]
    tokenizer: bool

    produces: ClassVar[Kind | str] = MODEL_FOLDER
    requires: ClassVar[tuple[str, ...]] = ("transformers",)

    def conflicts(self) -> Iterator[Problem]:
        yield from weights_source.unpinnable(self.weights, self.sha256, "FOLDER")

    def located(self, world: World) -> tuple[Path, str] | None:
        if self.weights == RANDOM:
            return None
        folder = self._folder(world)
        files = self._files(folder)
        self._check_vocabulary(folder)
        return folder, shards.digest(files, lambda f: weights_source.file_digest(f, world))

    def identity(self, world: World) -> Mapping[str, Any]:
        return {"sha256": self.sha256, "kwargs": self.kwargs, "tokenizer": self.tokenizer}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        if self.weights == RANDOM:
            self._drawn(folder)
            return Artifact(MODEL_FOLDER, folder, notes=Notes(says="random weights have no tokenizer"))
        source = Path(self.weights)
        files = self._files(source)
        weights_source.expect(source, str(self.sha256), shards.digest(files, weights_source.content))
        for path in files:
            shutil.copyfile(path, folder / path.name)
        kwargs = {k: v for k, v in self.kwargs.items() if k not in BESIDES}
        config = _read(source / model_folder.CONFIG) | kwargs
        config.pop("_name_or_path", None)
        _write(config, folder / model_folder.CONFIG)
        if not (folder / model_folder.GENERATION).is_file():
            ids = ("bos_token_id", "eos_token_id", "pad_token_id")
            _write({n: config[n] for n in ids if config.get(n) is not None}, folder / model_folder.GENERATION)
        names = [p.name for p in files if p.name in model_folder.TOKENIZER]
        return Artifact(MODEL_FOLDER, folder, notes=Notes(says=listed(names) or "no tokenizer"))

    def _folder(self, world: World) -> Path:
        """The folder, its files downloaded if needed. Raises ConfigError."""
        folder = Path(self.weights).expanduser()
        if folder.is_dir():
            return folder
        try:
            if not re.fullmatch(hub.NAME, self.weights):
                raise LookupError("it is no folder, and no name as in org/name")
            folder = hub.obtain(self.weights, self.revision, world, config=True, again=False).parent
            hub.obtain_beside(self.weights, folder, model_folder.FILES if self.tokenizer else (), world)
        except LookupError as e:
            raise ConfigError(
                f"weights={self.weights} has no files beside its weights here: {e}",
                allowed="a folder as save_pretrained writes it, a repository of the hub (org/name), or random",
                command="model.weights=/path/to/folder, or stages.folder.tokenizer=false for no tokenizer",
            ) from e
        return folder

    def _files(self, folder: Path) -> list[Path]:
        """The files that exist. Raises ConfigError without a configuration."""
        names = model_folder.FILES if self.tokenizer else (model_folder.CONFIG, model_folder.GENERATION)
        present = [folder / name for name in names if (folder / name).is_file()]
        if folder / model_folder.CONFIG not in present:
            raise ConfigError(
                f"weights={folder} has no {model_folder.CONFIG}; it holds "
                + listed(sorted(f.name for f in folder.iterdir())),
                allowed="a folder as save_pretrained writes it",
            )
        return present

    def _check_vocabulary(self, folder: Path) -> None:
        """Raises ConfigError for a tokenizer that makes tokens which the model does not have."""
        path = folder / "tokenizer.json"
        if not self.tokenizer or not path.is_file():
            return
        config = _read(folder / model_folder.CONFIG) | self.kwargs
        size = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size")
        highest = max(_ids(_read(path)), default=-1)
        if size is not None and highest >= size:
            raise ConfigError(
                f"weights={folder}: its tokenizer.json makes tokens up to {highest}, and the model knows {size}, 0 to "
                f"{size - 1}",
                allowed="a tokenizer of the model's own vocabulary",
                command="the model's own tokenizer.json beside its weights; or stages.folder.tokenizer=false for none",
            )

    def _drawn(self, folder: Path) -> None:
        from transformers import AutoConfig, GenerationConfig

        try:
            config = AutoConfig.for_model(**{k: v for k, v in self.kwargs.items() if k not in BESIDES})
            config.save_pretrained(folder)
            GenerationConfig.from_model_config(config).save_pretrained(folder)
        except Exception as e:  # configurations validate themselves with errors of their own kinds
            raise StageError(f"kwargs {self.kwargs} make no configuration: {first_line(e)}") from e


def _ids(tokenizer: Mapping[str, Any]) -> Iterator[int]:
    """The tokens that a tokenizer.json makes."""
    model = tokenizer.get("model", {})
    vocabulary = model.get("vocab", {})
    yield from vocabulary.values() if isinstance(vocabulary, Mapping) else range(len(vocabulary))
    yield from (added["id"] for added in tokenizer.get("added_tokens", ()))


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return dict(document)
    except (OSError, ValueError, TypeError) as e:
        raise ConfigError(
            f"{path} is damaged: {first_line(e)}", command="compare its SHA-256 with the original's"
        ) from e


def _write(document: Mapping[str, Any], path: Path) -> None:
    path.unlink(missing_ok=True)
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
