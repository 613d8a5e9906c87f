"""Errors for a ${…} that cannot be resolved: which key has it, and what to type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import InterpolationResolutionError

from pipeline.errors import ConfigError, listed

LACKS = {
    "variable": re.compile(r"Environment variable '([^']+)' not found"),
    "key": re.compile(r"Interpolation key '([^']+)' not found"),
    "resolver": re.compile(r"Unsupported interpolation type (\S+)"),
}


def error(raised: InterpolationResolutionError) -> ConfigError:
    """Our error for one of OmegaConf's, which names the last key on the way and not the one that is missing."""
    text = str(raised.msg or raised)
    what, name = next(((what, match[1]) for what, lack in LACKS.items() if (match := lack.search(text))), ("", ""))
    place, value = _written(raised, name)
    says = f"{place}: {value} cannot be resolved" if value else f"{place} cannot be resolved"
    if what == "variable":
        instead = f"export {name}=VALUE, or {place}='${{oc.env:{name},VALUE}}' for a value without it"
        return ConfigError(f"{says}: the environment has no {name}", command=instead)
    if what == "key":
        instead = f"{place}=VALUE; python -m pipeline --cfg job shows every key"
        return ConfigError(f"{says}: there is no key {name}", allowed="a key in full, from the top", command=instead)
    if what == "resolver":
        resolvers = listed(sorted(BaseContainer._resolvers), 30)
        return ConfigError(f"{says}: there is no resolver {name}", allowed=resolvers, command=f"{place}=VALUE")
    return ConfigError(f"{says}: {text.splitlines()[0]}", command=f"{place}=VALUE")


def _written(raised: InterpolationResolutionError, name: str) -> tuple[str, str]:
    """The key whose value refers to something that does not exist, and that value."""
    root = raised.parent_node._get_root() if raised.parent_node is not None else None
    if isinstance(root, DictConfig):
        for place, text in texts(OmegaConf.to_container(root, resolve=False)):
            pattern = re.escape(name or place)  # a key that refers to itself, if no other key is missing
            if not place.startswith("hydra.") and re.search(rf"\$\{{[^}}]*{pattern}\b", text):
                return place, text
    return str(raised.full_key or raised.key), ""


def texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Each string of a configuration with its place, such as `stages.load.weights`."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from texts(item, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list):
        for item in value:
            yield from texts(item, place)
    elif isinstance(value, str):
        yield place, value
