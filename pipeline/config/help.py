"""The texts of --help, --version and the bare console script: conf/wiring/help.yaml, and the options there are.

Built without Hydra, which would compose all that it lists.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline import errors
from pipeline.config import wiring
from pipeline.machine.installed import own_version
from pipeline.printable import as_typed
from pipeline.terminal.command import Say

WIDTH = 80


def answer(typed: Sequence[str]) -> str | None:
    """The answer to --help or --version; None where neither was typed."""
    if "--version" in typed:
        return f"drydock {own_version()}"
    if {"--help", "-h"} & {*typed}:
        from pipeline.config.compose import (
            folders,
        )  # imported here, since the import registers schemas, which takes time

        return full(folders())
    return None


def brief(say: Say) -> int:
    """The text that the console script prints without arguments."""
    texts = _texts()
    shown = texts["examples"].splitlines()[:3]
    lines = [texts["purpose"], "", *(f"  {line}" for line in shown), "", "python -m pipeline --help has the rest."]
    say(as_typed("\n".join(lines)))
    return errors.OK


def full(folders: Sequence[Path]) -> str:
    """The whole text of --help.

    Args:
        folders: Where configurations are looked for.
    """
    texts = _texts()
    first = [line for group, text in texts["first"].items() for line in _group(group, text, folders)]
    others = [line for group, text in texts["others"].items() for line in _group(group, text, folders)]
    parts = [
        texts["purpose"],
        "\n".join(f"  {line}" for line in texts["examples"].splitlines()),
        "Choose first, as KEY=VALUE:",
        "\n".join(first + _table(texts["keys"])),
        "Then, if needed:",
        "\n".join(others + _table(texts["placed"])),
        _wrapped(texts["yours"]),
        "Other commands:",
        "\n".join(_table(texts["commands"])),
        _wrapped(texts["codes"]),
    ]
    return as_typed("\n\n".join(parts))


def _texts() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((wiring.CONF / wiring.GROUP / "help.yaml").read_text("utf-8"))
    return read


def _group(group: str, text: str, folders: Sequence[Path]) -> list[str]:
    """The lines of a group: what it is, then its options, shipped ones and a user's own."""
    options = sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})
    listed = textwrap.wrap(", ".join(options), WIDTH - 6)
    return [f"  {group}=  {text}", *(f"      {line}" for line in listed)]


def _table(rows: dict[str, str]) -> list[str]:
    rows = {as_typed(name): text for name, text in rows.items()}
    width = max(map(len, rows))
    return [f"  {name.ljust(width)}  {text}" for name, text in rows.items()]


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, WIDTH))
