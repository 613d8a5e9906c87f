"""Makes the pages of options from conf/, whose comments and defaults are the only text: they cannot go stale.

A page says where by a comment, `<!-- made from conf/: choices -->` or `<!-- made from conf/: stages -->`.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from sphinx.application import Sphinx

from pipeline.config.instantiate import find_stage
from pipeline.settings import Setting

CONF = Path(__file__).resolve().parents[2] / "conf"
COMMAND = "python -m pipeline"
# What a YAML puts together, beside the keys that a person sets.
WIRING = {"defaults", "hydra", "stages", "goes_with", "instead", "_target_", "needs"}
# Where the keys of an option are typed. Those of a tolerance are typed below the check that it stands beside.
PLACES = {
    "model": "model.",
    "precision": "precision.",
    "hydra/launcher": "hydra.launcher.",
    "hydra/callbacks": "hydra.callbacks.",
}
MARKER = re.compile(r"<!-- made from conf/: (\w+) -->")


@dataclass(frozen=True)
class Key:
    """One key of a YAML: its dotted name, its value as it is written, and its comment."""

    name: str
    default: str
    comment: str


def keys(text: str, skipped: set[str] = WIRING) -> list[Key]:
    """The keys of a YAML, in order, each with its comment: at the end of its line, or on the lines above it."""
    root = yaml.compose(text, Loader=yaml.CSafeLoader)
    return list(_keys(root, text.splitlines(), "", skipped)) if isinstance(root, yaml.MappingNode) else []


def _keys(node: yaml.MappingNode, lines: list[str], parent: str, skipped: set[str]) -> Iterator[Key]:
    for key, value in node.value:
        if not parent and key.value in skipped:
            continue
        name = f"{parent}{key.value}"
        block = isinstance(value, yaml.CollectionNode) and not value.flow_style
        end = key.end_mark if block else value.end_mark
        comment = lines[end.line][end.column :].partition("#")[2].strip() or _above(lines, key.start_mark.line)
        if not block:
            yield Key(name, _between(lines, value.start_mark, value.end_mark), comment)
        elif isinstance(value, yaml.SequenceNode):
            yield Key(name, f"[{', '.join(item.value for item in value.value)}]", comment)
        elif comment:
            yield Key(name, "", comment)
        if block and isinstance(value, yaml.MappingNode):
            yield from _keys(value, lines, f"{name}.", skipped)


def _above(lines: list[str], line: int) -> str:
    """The comment lines directly above a line, unless they open the file."""
    first = line
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return " ".join(text.lstrip("# ") for text in lines[first:line]) if first else ""


def _between(lines: list[str], start: yaml.Mark, end: yaml.Mark) -> str:
    text = "\n".join(lines[start.line : end.line + 1])
    last = end.column if start.line != end.line else end.column - start.column
    kept = text[start.column :].splitlines() or [""]
    kept[-1] = kept[-1][:last]
    return " ".join(part.strip() for part in kept)


def opening(text: str) -> tuple[str, list[str]]:
    """What a YAML says first: its sentences, and the commands that it shows."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.lstrip("# "))
    return (
        " ".join(line for line in lines if not line.startswith(COMMAND)),
        [line for line in lines if line.startswith(COMMAND)],
    )


def choices(conf: Path = CONF) -> str:
    """The keys of the top, every choice with its keys, and the other commands."""
    words = _load((conf / "wiring/help.yaml").read_text("utf-8"))
    said = {**words["first"], **words["others"]}
    groups = [*said, "tolerance", "hydra/launcher", "hydra/callbacks"]
    top = _table(keys((conf / "config.yaml").read_text("utf-8")))
    commands = "\n".join(f"| {_code(line)} | {_cell(what)} |" for line, what in words["commands"].items())
    return "\n\n".join(
        [
            f"## Keys of every run\n\n{top}",
            *(_group(conf, group, said.get(group, "")) for group in groups),
            f"## Other commands\n\n| command | what it does |\n| --- | --- |\n{commands}",
        ]
    )


def _group(conf: Path, group: str, said: str) -> str:
    sentence = f"{said[0].upper()}{said[1:]}." if said else ""
    options = [_option(group, path) for path in sorted((conf / group).glob("*.yaml"))]
    return "\n\n".join([f"## {group}", *filter(None, [sentence]), *options])


def _option(group: str, path: Path) -> str:
    text = path.read_text("utf-8")
    sentence, commands = opening(text)
    place = "" if "# @package _global_" in text else PLACES.get(group, "")
    rules = (_load(text) or {}).get("goes_with", {}).get(group, {}).get(path.stem, {})
    along = "; ".join(f"`{key}=` {', '.join(f'`{v}`' for v in values)}" for key, values in rules.items())
    return "\n\n".join(
        filter(
            None,
            [
                f"({_target(group, path.stem)})=\n### {group}={path.stem}",
                sentence,
                _block(commands),
                f"Goes with {along}." if along else "",
                _table([replace(key, name=f"{place}{key.name}") for key in keys(text)]),
            ],
        )
    )


def stages(conf: Path = CONF) -> str:
    """Every stage with its settings."""
    return "\n\n".join(_stage(path) for path in sorted((conf / "stage").glob("*.yaml")))


def _stage(path: Path) -> str:
    text = path.read_text("utf-8")
    sentence, commands = opening(text)
    allowed = allowed_of(find_stage(path.stem))
    return "\n\n".join(
        filter(
            None,
            [
                f"({_target('stage', path.stem)})=\n## {path.stem}",
                sentence,
                _block(commands),
                _table(keys(text), allowed) or "It has no settings.",
            ],
        )
    )


def allowed_of(stage: type) -> dict[str, str]:
    """What the settings of a stage may be, of those that say so beside their type."""
    hints = typing.get_type_hints(stage, include_extras=True)
    return {name: words for name, hint in hints.items() if (words := "; ".join(_words(hint)))}


def _words(hint: Any) -> Iterator[str]:
    for setting in getattr(hint, "__metadata__", ()):
        if isinstance(setting, Setting):
            yield from dict.fromkeys(p.allowed for p in _problems(setting) if p.allowed)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        for one in typing.get_args(hint):
            yield from _words(one)
    elif hasattr(hint, "__metadata__"):
        yield from _words(hint.__origin__)


def _problems(setting: Setting) -> list[Any]:
    """What a setting says of a value that nothing allows."""
    for nothing in (float("nan"), "\0", ["\0"]):
        try:
            return list(setting.problems("", nothing))
        except (TypeError, AttributeError):
            continue
    return []


def _load(text: str) -> Any:
    return yaml.load(text, Loader=yaml.CSafeLoader)


def _target(group: str, name: str) -> str:
    return f"{group}-{name}".replace("/", "-").replace("_", "-")


def _block(commands: list[str]) -> str:
    return "\n".join(["```bash", *commands, "```"]) if commands else ""


def _table(rows: list[Key], allowed: dict[str, str] | None = None) -> str:
    if not rows:
        return ""
    if allowed:
        head = "| key | default | allowed | what it is |\n| --- | --- | --- | --- |"
        body = [
            f"| {_code(k.name)} | {_code(k.default)} | {_cell(allowed.get(k.name, ''))} | {_cell(k.comment)} |"
            for k in rows
        ]
    else:
        head = "| key | default | what it is |\n| --- | --- | --- |"
        body = [f"| {_code(k.name)} | {_code(k.default)} | {_cell(k.comment)} |" for k in rows]
    return "\n".join([head, *body])


def _code(text: str) -> str:
    return f"`{text}`".replace("|", r"\|") if text else ""


def _cell(text: str) -> str:
    """A comment as a cell: what Markdown would take for markup stays as it is written."""
    return re.sub(r"([|*_<>\[\]`$])", r"\\\1", text)


PARTS = {"choices": choices, "stages": stages}


def fill(app: Sphinx, name: str, source: list[str]) -> None:
    """Puts what is made in the place of the comment."""
    source[0] = MARKER.sub(lambda found: PARTS[found[1]](), source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
