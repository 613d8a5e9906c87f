"""Words that people know from other tools, each with its name here; the list is conf/wiring/habits.yaml."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.config import wiring

# Words that ask for a list, which --help has: `--list-models`, `list`, `models`.
LISTS = re.compile(r"(list|ls|show|models?|targets|precisions|options|choices)(_\w+)?")
BUILDER = re.compile(r"^@register_model.*?^def (\w+)\(", re.DOTALL | re.MULTILINE)


@functools.cache
def table() -> Mapping[str, Mapping[str, Any]]:
    """All of conf/wiring/habits.yaml."""
    read: Mapping[str, Mapping[str, Any]] = yaml.safe_load(
        (wiring.CONF / wiring.GROUP / "habits.yaml").read_text("utf-8")
    )
    return read


def key(typed: str) -> str | None:
    """Our name for another tool's key."""
    return _text(table()["keys"], typed)


def flag(typed: str) -> str | None:
    """What to type for another tool's flag that takes no value."""
    return _text(table()["flags"], typed)


def option(group: str, typed: str) -> str | None:
    """Our name for an option of a group that other tools name otherwise."""
    return _text(table()["options"].get(group, {}), typed)


def _text(names: Mapping[str, Any], name: str) -> str | None:
    return str(names[name]) if name in names else None


def model(typed: str) -> list[str] | None:
    """What to type for a model that is no option, such as a name of torchvision's; None for an unknown name.

    Args:
        typed: The text after `model=`.
    """
    if words := table()["files"].get(Path(typed).suffix):
        return [str(word).replace("FILE", typed) for word in words]
    if re.fullmatch(r"[\w.-]+/[\w.-]+", typed):
        return ["model=transformers", "model.factory=transformers.AutoModel", f"model.weights={typed}"]
    if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\.[A-Z]\w*", typed):
        return ["model=custom", f"model.factory={typed}", "model.weights=random"]
    kinds = dict(reversed([*_library_models()]))  # where two libraries have the name, the first
    tag = typed.lower().replace("-", "_")
    if near := difflib.get_close_matches(tag.partition(".")[0], kinds, n=1, cutoff=0.85):
        kind = kinds[near[0]]
        full = tag if kind == "timm" and tag.startswith(f"{near[0]}.") else near[0]
        return [f"model={kind}", f"model.name={full}"]
    return None


def _library_models() -> Iterator[tuple[str, str]]:
    """Each model that an installed library knows by name, with the option of `model` that takes it.

    Read from the libraries' sources; nothing is imported.
    """
    for place, option in table()["libraries"].items():
        library, _, below = place.partition("/")
        spec = importlib.util.find_spec(library)
        for root in (spec and spec.submodule_search_locations) or ():
            for file in sorted((Path(root) / below).glob("*.py")):
                yield from ((name, option) for name in BUILDER.findall(file.read_text(encoding="utf-8")))
