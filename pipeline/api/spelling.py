"""Python values as overrides, in the grammar that a command line has.

Source: https://hydra.cc/docs/1.3/advanced/override_grammar/basic/
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any

from pipeline.errors import ConfigError

PLAIN = re.compile(r"[A-Za-z_/.][\w/.:-]*", re.ASCII)
# What the grammar reads as something else than a text.
WORDS = ("true", "false", "null", "nan", "inf")


def override(key: str, value: Any) -> str:
    """`key=value`; a mapping is merged into the existing one. Raises ConfigError for a value that YAML cannot hold."""
    adds = "++" if isinstance(value, Mapping) else ""
    try:
        return f"{adds}{key}={spelled(value)}"
    except TypeError as e:
        raise ConfigError(f"{key} is {type(value).__name__}: {e}", allowed="what a YAML can hold, or a path") from e


def spelled(value: Any) -> str:
    """A value as the grammar reads it back. Raises TypeError."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, PathLike):
        value = fspath(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)}: {spelled(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(spelled, value)) + "]"
    raise TypeError(f"{type(value).__name__} has no spelling in YAML")


def _key(value: Any) -> str:
    """A key. Hydra's grammar accepts keys only without quotes."""
    if not isinstance(value, str) or not value or value.casefold() in WORDS or value[0].isdigit():
        raise TypeError(f"{value!r} has no spelling as a key")
    return re.sub(r"[\\()\[\]{}:=, \t]", r"\\\g<0>", value)


def _text(value: str) -> str:
    if PLAIN.fullmatch(value) and value.casefold() not in WORDS:
        return value
    # Backslashes stand for themselves, but before a quote.
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\" if m[2] else "") + m[2], value)
    return f"'{escaped}'"
