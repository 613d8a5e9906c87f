"""Settings that know their own rules: what is wrong with them, which files they name, and what enters the key.

The rules of a setting beyond its type are declared beside the type, and a stage asks its fields:

    opset: Annotated[int, Between(7, 23)]
    extensions: Annotated[list[str], Extensions()]  # a Setting of one's own: it knows what to do with the paths
    ignored: Ignored  # a group of settings: a dataclass that is Settings itself

OmegaConf sees the bare types, so a YAML holds plain values.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, Self, Union, get_args, get_origin

from pipeline.errors import ConfigError, Problem


class World(Protocol):
    """What a stage may ask about the outside world while its key is computed."""

    @property
    def may_fetch(self) -> bool:
        """Whether files may be downloaded now; False while only a plan is wanted."""

    def digest(self, path: Path) -> str:
        """The SHA-256 of a file's content, as 64 hex digits. Raises OSError."""

    def code(self, import_path: str) -> Mapping[str, str]:
        """The version of the distribution that has the code of a dotted path, or a digest of its source.

        Raises ConfigError when there is no such top-level module.
        """

    def processor(self) -> Mapping[str, str]:
        """The facts of this machine's processor that decide native results: architecture, name, instructions."""

    def gpu(self) -> Mapping[str, str]:
        """The facts of this machine's NVIDIA GPU that decide native results: name, driver, compute_capability.

        Raises BackendMissing where there is none.
        """

    def cores(self) -> int:
        """How many logical cores can be used; separate from `processor`, since few results depend on it."""

    def recall(self, fact: str, max_age: float) -> str | None:
        """What `remember` noted under `fact` within the last `max_age` seconds."""

    def remember(self, fact: str, value: str) -> None:
        """Notes a fact about this machine that may change, such as a host that cannot be reached. Never a result."""


def digest_of(path: Path, world: World, place: str, *, allowed: str = "", command: str = "an existing file") -> str:
    """The SHA-256 of a file that a setting names. Raises ConfigError, which begins with the place, if it is not there.

    Args:
        path: The file.
        world: Computes the digest.
        place: The setting and its value, such as "weights=net.onnx".
        allowed: What would be accepted, for the message.
        command: What to type, for the message.
    """
    try:
        return world.digest(path)
    except OSError as e:
        raise ConfigError(f"{place} cannot be read: {e.strerror}", allowed=allowed, command=command) from e


class Setting:
    """The rules of a setting beyond its type: an instance stands beside the type in Annotated, and checks the value.

    Attributes:
        keyed: Whether the value decides the result and so is part of the key.
        required: Whether it checks None too, the value of a setting that is left out.
    """

    keyed: ClassVar[bool] = True
    required: ClassVar[bool] = False

    def problems(self, name: str, value: Any) -> Iterable[Problem]:
        """What is wrong with the value, each sentence beginning with the setting's name."""
        return ()

    def modules(self, value: Any) -> Iterable[str]:
        """Importable modules that a stage with this value requires."""
        return ()

    def files(self, value: Any) -> Iterable[str]:
        """The parts of the value that name files or folders, as they are written."""
        return ()

    def settle(self, name: str, value: Any, world: World) -> Any:
        """The value with its files looked up. Raises ConfigError for one that is not there."""
        self.identity(name, value, world)
        return value

    def identity(self, name: str, value: Any, world: World) -> Any:
        """The value's form in a key: a file's content, not its path. Raises ConfigError if the file is missing."""
        return value


class Settings:
    """A dataclass that asks its fields: a stage, or a group of settings in one. Subclasses add their own rules."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @classmethod
    @functools.cache
    def _kinds(cls) -> Mapping[str, tuple[Setting, ...]]:
        """The declarations beside the type of each field."""
        hints = {name: hint for base in reversed(cls.__mro__) for name, hint in _hints(base).items()}
        return {f.name: (*_beside(hints[f.name]), _Groups()) for f in dataclasses.fields(cls)}

    def _declarations(self, without: Collection[str] = ()) -> Iterator[tuple[str, Any, tuple[Setting, ...]]]:
        """Each field's name, its value and its declarations; the value is None for the names in `without`."""
        for name, kinds in self._kinds().items():
            value = None if name in without else getattr(self, name)
            yield name, value, tuple(kind for kind in kinds if value is not None or kind.required)

    def unused(self) -> Collection[str]:
        """Names of settings that have no effect beside the other settings: not looked up, and null in the key."""
        return ()

    def problems(self) -> list[Problem]:
        """What is wrong with the settings beyond their types: each by itself, and in combination."""
        each = [p for name, value, kinds in self._declarations() for kind in kinds for p in kind.problems(name, value)]
        return [*each, *self.conflicts()]

    def conflicts(self) -> Iterable[Problem]:
        """Problems of settings that do not go together."""
        return ()

    def useless(self, names: Iterable[str], why: str, allowed: str = "null") -> Iterator[Problem]:
        """A problem for each setting without effect, with a reason such as "granularity is per_tensor"."""
        for name in names:
            if (value := getattr(self, name)) is not None:
                yield Problem(f"{name} is {value}, and {why}", allowed)

    def libraries(self) -> set[str]:
        """Importable modules that these values require."""
        return {module for _, value, kinds in self._declarations() for kind in kinds for module in kind.modules(value)}

    def files(self) -> frozenset[str]:
        """The values that name files or folders. A record leaves these paths out."""
        declarations = self._declarations(self.unused())
        return frozenset(file for _, value, kinds in declarations for kind in kinds for file in kind.files(value))

    def settle(self, world: World) -> Self:
        """The settings with every value resolved that depends on the outside world, such as a file's digest.

        Raises ConfigError, with every problem, when something that a setting names is not there.
        """
        settled: dict[str, Any] = {}
        problems: list[Problem] = []
        for name, value, kinds in self._declarations(self.unused()):
            try:
                for kind in kinds:
                    settled[name] = kind.settle(name, settled.get(name, value), world)
            except ConfigError as e:
                problems += e.problems
        if problems:
            raise ConfigError(problems)
        return dataclasses.replace(self, **settled)

    def identity(self, world: World) -> Mapping[str, Any]:
        """Plain JSON that decides the result, apart from inputs and library versions.

        It has no paths, but the content of files.
        """
        identity: dict[str, Any] = {}
        for name, value, kinds in self._declarations(self.unused()):
            if all(kind.keyed for kind in self._kinds()[name]):
                for kind in kinds:
                    value = kind.identity(name, value, world)
                identity[name] = _plain(value)
        return identity


class _Groups(Setting):
    """The declaration of a setting that is a group of settings, or a mapping of groups: asks each group."""

    def problems(self, name: str, value: Any) -> Iterable[Problem]:
        return [p.at(f"{place}.") for place, group in _groups(name, value) for p in group.problems()]

    def modules(self, value: Any) -> Iterable[str]:
        return [module for _, group in _groups("", value) for module in group.libraries()]

    def files(self, value: Any) -> Iterable[str]:
        return [file for _, group in _groups("", value) for file in group.files()]

    def settle(self, name: str, value: Any, world: World) -> Any:
        return _each(name, value, lambda group: group.settle(world))

    def identity(self, name: str, value: Any, world: World) -> Any:
        return _each(name, value, lambda group: group.identity(world))


def _each(place: str, value: Any, act: Callable[[Settings], Any]) -> Any:
    """The value with every group in it replaced. Raises ConfigError, with the place of the group."""
    if isinstance(value, Mapping):
        return {key: _each(f"{place}.{key}", item, act) for key, item in value.items()}
    try:
        return act(value) if isinstance(value, Settings) else value
    except ConfigError as e:
        raise ConfigError([p.at(f"{place}.") for p in e.problems]) from e


def _plain(value: Any) -> Any:
    """The value with every dataclass in it as a mapping."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _groups(place: str, value: Any) -> Iterator[tuple[str, Settings]]:
    if isinstance(value, Settings):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _groups(f"{place}.{key}", item)


@functools.cache
def _hints(base: type) -> Mapping[str, Any]:
    """The types of a class's own attributes; those of Stage are read once for all stages."""
    return inspect.get_annotations(base, eval_str=True)


def _beside(hint: Any) -> Iterator[Setting]:
    """The declarations beside a type in Annotated, within Optional too."""
    yield from (kind for kind in getattr(hint, "__metadata__", ()) if isinstance(kind, Setting))
    for inner in get_args(hint) if get_origin(hint) in (Annotated, Union) else ():
        yield from _beside(inner)
