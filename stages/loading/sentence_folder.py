"""The files of a sentence-transformers folder around the model: modules.json, and a folder for each module.

Source: https://sbert.net/docs/sentence_transformer/usage/custom_models.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, listed

MODULES, CONFIG = "modules.json", "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# The class that builds the model of such a folder.
FACTORY = "stages.loading.sentence.SentenceModel"
KINDS = ("Transformer", "Pooling", "Dense", "Normalize")
# The modes of pooling, in the order in which several are joined; newer folders name one by a shorter word.
POOLING = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
SHORT = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens", "weightedmean": "weightedmean_tokens"}


def is_sentence(folder: Path) -> bool:
    """Whether a folder has a Pooling module, which turns tokens into a vector."""
    return (folder / MODULES).is_file() and any(kind == "Pooling" for kind, _ in modules(folder))


def files(folder: Path) -> list[Path]:
    """All files that decide the modules around the model: they are part of its digest."""
    inside = [p / n for _, p in modules(folder) for n in (CONFIG, *WEIGHTS) if p != folder and (p / n).is_file()]
    return [folder / MODULES, *inside]


def modules(folder: Path) -> list[tuple[str, Path]]:
    """The kind of each module and its folder, in order. Raises ConfigError for an unknown module."""
    kinds = []
    for part in read(folder / MODULES):
        kind, place = str(part["type"]).rpartition(".")[2], folder / str(part["path"])
        if kind not in KINDS or not place.resolve().is_relative_to(folder.resolve()):
            raise ConfigError(
                f"weights={folder}: {MODULES} has {part['type']} at '{part['path']}'",
                allowed=f"{listed(KINDS)}, in the folder",
                command="model.factory=transformers.AutoModel for the model without them",
            )
        kinds.append((kind, place))
    return kinds


def modes_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The modes that a Pooling's configuration chooses, in the order in which they are joined. Raises ConfigError."""
    if isinstance(mode := config.get("pooling_mode"), str):
        chosen: tuple[str, ...] = (SHORT.get(mode, mode),)
    else:
        chosen = tuple(m for m in POOLING if config.get(f"pooling_mode_{m}"))
    if not chosen or set(chosen) - {*POOLING}:
        raise ConfigError(
            f"the Pooling of {MODULES} has the mode {listed(chosen) or 'none'}",
            allowed=listed(POOLING),
            command="model.factory=transformers.AutoModel for the model without it",
        )
    return chosen


def read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as e:
        raise ConfigError(f"{path} cannot be read: {e}", command="compare its SHA-256 with the original's") from e
