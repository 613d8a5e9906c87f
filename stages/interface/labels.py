"""The names of a classifier's scores, as a configuration gives them: a list, or a text file with one a line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, Problem
from pipeline.stage import Setting, World


class Labels(Setting):
    """Names, or the path of a text file with one a line, which is read when the setting is settled."""

    def problems(self, name: str, value: Any) -> Iterable[Problem]:
        if not isinstance(value, str) and not _are_names(value):
            allowed = "a list of names, or the path of a text file with one name a line"
            yield Problem(f"{name} is {value}", allowed, command="model.labels=labels.txt")

    def files(self, value: Any) -> Iterable[str]:
        return [value] if isinstance(value, str) else []

    def settle(self, name: str, value: Any, world: World) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return Path(value).expanduser().read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as e:
            wrong, allowed = f"{name}={value} cannot be read: {e}", "a text file, UTF-8, with one name a line"
            raise ConfigError(wrong, allowed=allowed, command="model.labels=labels.txt") from e


def _are_names(labels: Any) -> bool:
    return isinstance(labels, list) and bool(labels) and all(isinstance(n, str) and n for n in labels)
