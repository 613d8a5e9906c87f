"""Builds objects that a configuration describes as for Hydra's `instantiate`: `{_target_: torch.nn.GELU}`.

Source: https://hydra.cc/docs/advanced/instantiate_objects/overview/
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import ConfigError, StageError
from stages.interface import factory

TARGET, PARTIAL, ARGUMENTS, RECURSIVE, CONVERT = "_target_", "_partial_", "_args_", "_recursive_", "_convert_"


def described(value: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each mapping with a `_target_` in a value, with its place there."""
    if isinstance(value, Mapping):
        if isinstance(value.get(TARGET), str):
            yield place, value
        for name, item in value.items():
            yield from described(item, f"{place}.{name}")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from described(item, f"{place}[{i}]")


def targets(value: Any) -> set[str]:
    """The dotted paths of all targets in a value."""
    return {part[TARGET] for _, part in described(value, "")}


def built(value: Any, place: str) -> Any:
    """A value in which each mapping with a `_target_` is replaced by the object that it describes, innermost first.

    `_partial_: true` makes a functools.partial; `_args_` are positional; `_recursive_: false` leaves inner descriptions
    to the target. Mappings and lists are Python's own, as with `_convert_: all`.

    Args:
        value: Plain, with everything resolved.
        place: Its place, for messages.

    Raises:
        ConfigError: When a target cannot be imported, or does not accept its arguments.
        StageError: When it raises anything else.
    """
    if isinstance(value, list):
        return [built(item, f"{place}[{i}]") for i, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    if TARGET not in value:
        return {name: built(item, f"{place}.{name}") for name, item in value.items()}
    path = value[TARGET]
    call = _find(path, f"{place}.{TARGET}")
    inside = (lambda item, at: item) if value.get(RECURSIVE) is False else built
    keywords = {n: inside(v, f"{place}.{n}") for n, v in value.items() if n not in _OURS}
    positional = [inside(v, f"{place}.{ARGUMENTS}") for v in value.get(ARGUMENTS, [])]
    if value.get(PARTIAL):
        return functools.partial(call, *positional, **keywords)
    try:
        return call(*positional, **keywords)
    except (TypeError, ValueError) as e:
        raise ConfigError(
            f"{place}: {path} does not accept {', '.join(keywords) or 'no arguments'}: {factory.message_of(e)}",
            command=f"'+model.{place}.NAME=VALUE', or '~model.{place}.NAME'",
        ) from e
    except (Exception, SystemExit) as e:  # the user's own code
        raise StageError(f"{place}: {path} failed: {factory.message_of(e)}") from e


_OURS = (TARGET, PARTIAL, ARGUMENTS, RECURSIVE, CONVERT)


def _find(path: Any, place: str) -> Any:
    """The object of a target: a class, a function, or a method of a class. Raises ConfigError."""
    if not isinstance(path, str):
        raise ConfigError(f"{place} is {path!r}", allowed="the dotted path of a class or function")
    home, _, name = path.rpartition(".")
    if home.rpartition(".")[2][:1].isupper():
        owner = factory.find(home, place, f"model.{place}=my_package.net.Part")
        if callable(method := getattr(owner, name, None)):
            return method
    return factory.find(path, place, f"model.{place}=my_package.net.Part")
