"""Removes hosts and folders from a page that is passed on."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, TypeVar

# Two names or more; neither of a URL nor after another name, as in images/second.
PATH = re.compile(r"""(?<![\w:/.~…])(?:/[^\s/'",;:()\[\]{}<>|=]+){2,}/?""")

T = TypeVar("T")


def without(value: T) -> T:
    """The value without hosts, and with each absolute path cut to a unique last name."""
    return _Shortened().shorten(value)  # type: ignore[no-any-return]


class _Shortened:
    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def shorten(self, value: Any) -> Any:
        if isinstance(value, str):
            return PATH.sub(lambda match: self._name(match[0]), value)
        if isinstance(value, Mapping):
            return {key: self.shorten(item) for key, item in value.items() if key != "host"}
        if isinstance(value, (list, tuple)):
            return type(value)(map(self.shorten, value))
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {f.name: self.shorten(getattr(value, f.name)) for f in dataclasses.fields(value)}
            return dataclasses.replace(value, **fields)
        return value

    def _name(self, path: str) -> str:
        if path not in self._names:
            last = f"…/{path.rstrip('/').rpartition('/')[2]}"
            same = sum(name.partition(" ")[0] == last for name in self._names.values())
            self._names[path] = f"{last} ({same + 1})" if same else last
        return self._names[path]
