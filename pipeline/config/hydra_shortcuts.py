"""Shortcuts in Hydra 1.3 that skip repeated work. They use private names: the pin on hydra-core
keeps those, and tests notice when one goes.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any

from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.defaults_list import DefaultsList
from hydra._internal.hydra import Hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.default_element import InputDefault, ResultDefault
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

MAY_SET_MODE = re.compile(r"[+~]*(hydra(\.mode|[=/@]|$)|(experiment|sweep)\b)")


def compose_once() -> None:
    """Skips, in this process, the first of the two compositions of the whole configuration.

    Hydra composes twice only to read hydra.mode, which takes a quarter of a warm run. Only an experiment, a sweep, one
    of hydra's groups or hydra.mode itself can set another mode than the command line does. If none of them was typed,
    the answer is None: the mode of the command line.
    """
    thorough = Hydra.get_mode

    def get_mode(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        if config_name != "config" or any(MAY_SET_MODE.match(o) for o in overrides):
            return thorough(self, config_name, overrides)
        return None

    Hydra.get_mode = get_mode  # type: ignore[method-assign]


def map_choices_where_needed() -> None:
    """Skips, in this process, the map of all choices that Hydra builds for each YAML: a quarter of composing.

    Only ${…} in a defaults list is looked up in it, and few lists have that.
    """
    whole = defaults_list._create_interpolation_map

    def mapped(overrides: Any, defaults: list[InputDefault], self_added: bool) -> Any:
        if any(not default.is_self() and default.is_interpolation() for default in defaults):
            return whole(overrides, defaults, self_added)
        return None

    defaults_list._create_interpolation_map = mapped  # type: ignore[assignment]


@contextlib.contextmanager
def read_once(loader: ConfigLoader) -> Iterator[CachingConfigRepository]:
    """Reads each YAML once in the block, however many jobs are composed in it: a third of each job's time."""
    reading = vars(loader)["repository"]
    vars(loader)["repository"] = once = _ReadOnce(reading)
    try:
        yield once
    finally:
        vars(loader)["repository"] = reading


@contextlib.contextmanager
def shared_work(loader: ConfigLoader) -> Iterator[None]:
    """Does what several jobs share once in the block: it reads each YAML once, builds the defaults list of equal
    choices once, and merges that list once. Only the typed values remain for each job.
    """
    create = vars(config_loader_impl)["create_defaults_list"]
    with read_once(loader) as once:
        vars(loader)["_compose_config_from_defaults_list"] = _merged_once(loader)
        vars(config_loader_impl)["create_defaults_list"] = _listed_once(create, once)
        try:
            yield
        finally:
            del vars(loader)["_compose_config_from_defaults_list"]
            vars(config_loader_impl)["create_defaults_list"] = create


def _listed_once(create: Callable[..., DefaultsList], once: CachingConfigRepository) -> Callable[..., DefaultsList]:
    """`create` of Hydra, with one defaults list for all jobs of equal choices, for YAMLs read through `once`."""
    lists: dict[Any, DefaultsList] = {}

    def listed(repo: IConfigRepository, config_name: str, overrides_list: list[Override], **how: Any) -> DefaultsList:
        if getattr(repo, "delegate", None) is not once:
            return create(repo=repo, config_name=config_name, overrides_list=overrides_list, **how)
        values = [o for o in overrides_list if isinstance(o.value(), dict) or not repo.group_exists(o.key_or_group)]
        chosen = [o for o in overrides_list if o not in values]
        alike = [o.input_line for o in overrides_list if o in chosen or o.is_hydra_override()]
        key = (config_name, *alike, *sorted(how.items()))
        if key not in lists:
            lists[key] = create(repo=repo, config_name=config_name, overrides_list=chosen, **how)
        return dataclasses.replace(lists[key], config_overrides=[o for o in values if not o.is_sweep_override()])

    return listed


def _merged_once(loader: ConfigLoader) -> Callable[..., DictConfig]:
    """Hydra's method, which merges again only for another defaults list."""
    merge = type(loader)._compose_config_from_defaults_list  # type: ignore[attr-defined]
    configs: dict[str, DictConfig] = {}

    def merged(defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        key = repr(defaults)
        if key not in configs:
            configs[key] = merge(loader, defaults=defaults, repo=repo)
        return copy.deepcopy(configs[key])

    return merged


class _ReadOnce(CachingConfigRepository):
    """Hydra's own cache of one composition, used for several: it returns copies, since callers may change them."""

    def __deepcopy__(self, memo: object) -> _ReadOnce:
        return self  # each composition copies its repository

    def load_config(self, config_path: str) -> Any:
        if (loaded := super().load_config(config_path)) is not None:
            loaded = copy.copy(loaded)
            loaded.config = copy.deepcopy(loaded.config)
        return loaded
