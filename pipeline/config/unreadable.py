"""Errors for YAML that cannot be read or includes itself, and for options that are no names."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.default_element import ConfigDefault, GroupDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType
from hydra.errors import ConfigCompositionException, HydraException
from hydra.plugins.config_source import ConfigResult, ConfigSource

from pipeline.config import again, habits
from pipeline.config.tree import Tree
from pipeline.errors import ConfigError, Problem, listed

NUMBER_LIKE = re.compile(r"=\s*[-+.]?(\d|nan|inf|true|false)", re.IGNORECASE)


def guard() -> None:
    """Makes errors about an unreadable YAML name its file, in this process; see pipeline/config/choices.py."""
    source: Any = SourcesRegistry.instance().resolve(
        "file"
    )  # the class that Hydra uses, which an import by name may not give
    load = source.load_config

    def load_config(self: ConfigSource, config_path: str) -> ConfigResult:
        try:
            return cast("ConfigResult", load(self, config_path))
        except HydraException:
            raise
        except (UnicodeDecodeError, RecursionError, OSError) as e:
            _refuse(Path(self.path) / f"{config_path.removesuffix('.yaml')}.yaml", e)

    def is_config(self: ConfigSource, config_path: str) -> bool:
        return _is(stat.S_ISREG, Path(self.path) / f"{config_path.removesuffix('.yaml')}.yaml")

    def is_group(self: ConfigSource, config_path: str) -> bool:
        return _is(stat.S_ISDIR, Path(self.path) / config_path)

    source.load_config, source.is_config, source.is_group = load_config, is_config, is_group


def _is(kind: Callable[[int], bool], path: Path) -> bool:
    """Whether a path is of a kind; Hydra itself takes a path that cannot be examined as absent."""
    try:
        return kind(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as e:
        _refuse(path, e)


def _refuse(path: Path, error: Exception) -> NoReturn:
    command = "python -m pipeline --info defaults shows what is read"
    if isinstance(error, UnicodeDecodeError):
        ours = ConfigError(f"{path}: byte {error.start} is no UTF-8", allowed="text in UTF-8", command=_converted(path))
    elif isinstance(error, OSError):
        ours = ConfigError(f"{path} cannot be read: {error.strerror}", allowed="a file", command=command)
    else:
        ours = ConfigError(f"{path}: it is nested too deeply", allowed="some hundred levels", command=command)
    raise ConfigCompositionException(str(ours)) from ours


def _converted(path: Path) -> str:
    return f"iconv -f latin1 -t utf8 {path} shows it in UTF-8, if it is Latin-1"


def refuse_numbers(overrides: Sequence[str], tree: Tree) -> None:
    """Raises ConfigError for options that YAML does not read as a name, such as `model=nan`."""
    problems = []
    for typed in filter(NUMBER_LIKE.search, overrides):  # Hydra's parser is slow
        try:
            override = OverridesParser.create().parse_override(typed)
        except HydraException:
            continue  # Hydra reports it
        value = override.value() if override.value_type is ValueType.ELEMENT else None
        if isinstance(value, (bool, int, float)) and tree.is_group(override.key_or_group):
            group = override.key_or_group
            options = listed(tree.options(group), 30)
            meant = habits.option(group, str(value))
            line = again.with_change(overrides, {typed: [f"{group}={meant}"]}) if meant else f"{group}=NAME"
            problems.append(Problem(f"{typed}: {value} is no name of an option", options, line))
    if problems:
        raise ConfigError(problems)


def endless(overrides: Sequence[str], tree: Tree) -> ConfigError:
    """The error for YAMLs that include themselves, directly or through others."""
    starts = [o.lstrip("+").partition("@")[0].replace("=", "/") for o in overrides if "=" in o]
    for start in starts:
        for ring in _rings(start, tree, []):
            return ConfigError(
                f"defaults lists that include themselves: {' → '.join(f'{path}.yaml' for path in ring)}",
                command=f"another option in the defaults list of {ring[-2]}.yaml",
            )
    return ConfigError(
        "what was chosen is nested too deeply, or includes itself",
        command="python -m pipeline --info defaults-tree with one choice after the other left out",
    )


def _rings(path: str, tree: Tree, above: list[str]) -> Iterator[list[str]]:
    if path in above:
        yield [*above[above.index(path) :], path]
        return
    group = path.rpartition("/")[0]
    for default in tree.defaults(path):
        if isinstance(default, GroupDefault) and isinstance(default.value, str):
            below = f"{default.group}/{default.value}"
        elif isinstance(default, ConfigDefault) and not default.is_self():
            below = str(default.path)
        else:
            continue
        full = os.path.normpath(below if below.startswith("/") else f"/{group}/{below}")
        yield from _rings(full.removeprefix("/"), tree, [*above, path])
