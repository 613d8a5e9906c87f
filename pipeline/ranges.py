"""Ranges, choices and other declarations that stand beside the type of a setting.

annotated-types has markers for some of them, but takes 30 ms to import. These check their value themselves.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pipeline.errors import Problem, listed, nearest
from pipeline.settings import Setting, World


class Between(Setting):
    """A number from the lowest to the highest, both included."""

    def __init__(self, low: float, high: float, allowed: str = "", command: str = "") -> None:
        self._low, self._high = low, high
        self._allowed, self._command = allowed or f"{low:g} to {high:g}", command

    def problems(self, name: str, value: Any) -> Iterable[Problem]:
        return [] if self.has(value) else [Problem(f"{name} is {value}", self._allowed, self._command)]

    def has(self, value: float) -> bool:
        """Whether a value is in the range."""
        return self._low <= value <= self._high


class AtLeast(Between):
    """A finite number that is not below the lowest."""

    def __init__(self, low: float, allowed: str = "", command: str = "") -> None:
        super().__init__(low, sys.float_info.max, allowed or f"{low:g} or more", command)


class Above(AtLeast):
    """A finite number above another."""

    def __init__(self, low: float, allowed: str = "", command: str = "") -> None:
        super().__init__(low, allowed or f"a number above {low:g}", command)

    def has(self, value: float) -> bool:
        return self._low < value <= self._high


class OneOf(Setting):
    """One of a few values.

    Args:
        choices: The values.
        allowed: How a message names them; the values themselves, by default.
        command: What to type instead.
        near: Whether a message offers the value that is nearest to the wrong one.
    """

    def __init__(self, choices: Iterable[Any], allowed: str = "", command: str = "", *, near: bool = True) -> None:
        self._choices, self._near = tuple(choices), near
        self._allowed, self._command = allowed or listed(map(str, self._choices), 20), command

    def problems(self, name: str, value: Any) -> Iterable[Problem]:
        near = nearest(value, self._choices) if self._near and isinstance(value, str) else ""
        return [] if value in self._choices else [Problem(f"{name} is {value}{near}", self._allowed, self._command)]


class SomeOf(OneOf):
    """A list in which each value is one of a few texts.

    Args:
        choices: The texts.
        allowed: How a message names them; the texts themselves, by default.
        least: How many there must be.
    """

    def __init__(self, choices: Iterable[str], allowed: str = "", *, least: int = 0) -> None:
        super().__init__(choices, allowed)
        self._least = least

    def problems(self, name: str, value: Any) -> Iterable[Problem]:
        unknown = [v for v in value if v not in self._choices]
        if self._least and (unknown or len(value) < self._least):
            return [Problem(f"{name} is {value}", self._allowed)]
        return [Problem(f"{name} has {v}{nearest(v, self._choices)}", self._allowed) for v in unknown]


class Matches(Setting):
    """A text that a whole regular expression matches."""

    def __init__(self, pattern: str, allowed: str, command: str = "") -> None:
        self._pattern, self._allowed, self._command = re.compile(pattern), allowed, command

    def problems(self, name: str, value: Any) -> Iterable[Problem]:
        wrong = f"{name} is {value or 'empty'}"
        return [] if self._pattern.fullmatch(value) else [Problem(wrong, self._allowed, self._command)]


class Each(Setting):
    """A declaration for every value of a mapping."""

    def __init__(self, kind: Setting) -> None:
        self._kind = kind

    def problems(self, name: str, value: Any) -> Iterable[Problem]:
        return [p for key, item in value.items() for p in self._kind.problems(f"{name}.{key}", item)]


class Unkeyed(Setting):
    """A setting that decides no result and is not part of the key."""

    keyed = False


class FilePath(Unkeyed):
    """The path of a file or folder. Its content enters the key through another setting; the path never does.

    Args:
        words: Values that name no file.
    """

    def __init__(self, words: Collection[str] = ()) -> None:
        self._words = words

    def files(self, value: Any) -> Iterable[str]:
        return [] if value in self._words else [value]


class Code(Setting):
    """The dotted path of a class or function. Its code is part of the key. Its top-level module must exist."""

    def identity(self, name: str, value: Any, world: World) -> Any:
        return {"path": value, "code": dict(world.code(value))}


class Requires(Setting):
    """Importable modules that a stage requires for certain values of the setting."""

    def __init__(self, modules: Mapping[Any, tuple[str, ...]]) -> None:
        self._modules = modules

    def modules(self, value: Any) -> Iterable[str]:
        return self._modules.get(value, ())
