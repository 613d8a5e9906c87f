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


def share(given: Artifact | None, folder: Path) -> str:
    """Links all files of an artifact into a folder; returns its tokenizer in words, or an empty text."""
    if given is None or given.folder is None:
        return ""
    names = sorted(p.name for p in given.folder.iterdir() if p.name in FILES)
    for name in names:
        given.share(name, folder)
    return "" if not has_tokenizer(given) else f"tokenizer of {listed(n for n in names if n in TOKENIZER)}"


def asked(given: Artifact | None) -> Mapping[str, Any]:
    """The content of generation_config.json; empty where there is none."""
    if given is None or given.folder is None or not (given.folder / GENERATION).is_file():
        return {}
    told: dict[str, Any] = json.loads((given.folder / GENERATION).read_text(encoding="utf-8"))
    return told


def has_tokenizer(given: Artifact | None) -> bool:
    """Whether there is a tokenizer among the files."""
    whole = ("tokenizer.json", "tokenizer.model", "vocab.json")
    return given is not None and given.folder is not None and any((given.folder / n).is_file() for n in whole)
