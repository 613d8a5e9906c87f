"""The files beside a decoder's weights: configuration, tokenizer, chat template."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.artifact import Artifact
from pipeline.errors import listed

CONFIG, GENERATION = "config.json", "generation_config.json"
# The names that transformers' save_pretrained uses; tokenizer.json includes everything of the older ones.
TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("merges.txt", "tokenizer.model", "spiece.model", "chat_template.jinja", "chat_template.json"),
)
FILES = (CONFIG, GENERATION, *TOKENIZER)


def share(source: Artifact | None, folder: Path) -> str:
    """Links all files of an artifact into a folder; returns its tokenizer in words, or an empty text."""
    if source is None or source.folder is None:
        return ""
    names = sorted(p.name for p in source.folder.iterdir() if p.name in FILES)
    for name in names:
        source.share(name, folder)
    return "" if not has_tokenizer(source) else f"tokenizer of {listed(n for n in names if n in TOKENIZER)}"


def generation_config(source: Artifact | None) -> Mapping[str, Any]:
    """The content of generation_config.json; empty where there is none."""
    if source is None or source.folder is None or not (source.folder / GENERATION).is_file():
        return {}
    content: dict[str, Any] = json.loads((source.folder / GENERATION).read_text(encoding="utf-8"))
    return content


def has_tokenizer(source: Artifact | None) -> bool:
    """Whether there is a tokenizer among the files."""
    whole = ("tokenizer.json", "tokenizer.model", "vocab.json")
    return source is not None and source.folder is not None and any((source.folder / n).is_file() for n in whole)
