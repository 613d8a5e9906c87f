"""The names of a classifier's scores in a configuration: a list, or a text file with one name per line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, Problem, listed
from pipeline.stage import Setting, World


class Labels(Setting):
    """Names, or the path of a text file with one name per line, which is read when the setting is settled.

    A byte-order mark, blank lines and blanks around a name are ignored.
    """

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
            lines = Path(value).expanduser().read_text(encoding="utf-8-sig").splitlines()
            return [line.strip() for line in lines if line.strip()]
        except (OSError, UnicodeDecodeError) as e:
            wrong, allowed = f"{name}={value} cannot be read: {e}", "a text file, UTF-8, with one name a line"
            raise ConfigError(wrong, allowed=allowed, command="model.labels=labels.txt") from e


class DistinctLabels(Labels):
    """Names that are all different: a device returns scores by name, and would lose one of two equal names."""

    def settle(self, name: str, value: Any, world: World) -> Any:
        names = super().settle(name, value, world)
        if twice := [label for label, count in Counter(names).items() if count > 1]:
            places = [i for i, label in enumerate(names) if label == twice[0]]
            raise ConfigError(
                f"{name} has {listed(twice)} more than once: '{twice[0]}' at {listed(map(str, places))}",
                allowed="a name of its own for each score: ImageNet has two cranes, a bird and a machine",
                command="model.labels=FILE with other names, or stages.compile.classifier=false",
            )
        return names


def _are_names(labels: Any) -> bool:
    return isinstance(labels, list) and bool(labels) and all(isinstance(n, str) and n for n in labels)
