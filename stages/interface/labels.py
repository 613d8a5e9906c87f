"""The names of a classifier's scores, as a configuration gives them: a list, or a text file with one a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, Problem


def problems(labels: Any) -> list[Problem]:
    """What is wrong with them before any file is read."""
    if labels is None or isinstance(labels, str) or _are_names(labels):
        return []
    allowed = "a list of names, or the path of a text file with one name a line"
    return [Problem(f"labels is {labels}", allowed=allowed, command="model.labels=labels.txt")]


def read(labels: Any) -> Any:
    """The same, with the file read that they name. Raises ConfigError."""
    if not isinstance(labels, str):
        return labels
    try:
        return Path(labels).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(
            f"labels={labels} cannot be read: {e}",
            allowed="a text file, UTF-8, with one name a line",
            command="model.labels=labels.txt",
        ) from e


def _are_names(labels: Any) -> bool:
    return isinstance(labels, list) and bool(labels) and all(isinstance(n, str) and n for n in labels)
