"""Three shortcuts through Hydra 1.3, for what it does over and over. They use private names: the pin on hydra-core
keeps those, and tests notice when one goes.
"""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterator
from typing import Any

from hydra._internal import defaults_list
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.hydra import Hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.default_element import InputDefault

MAY_SET_MODE = re.compile(r"[+~]*(hydra(\.mode|[=/@]|$)|(experiment|sweep)\b)")


def compose_once() -> None:
    """Leaves out, in this process, the first of the two times that Hydra composes the whole configuration.

    It does so only to read hydra.mode, and that is a quarter of a warm run. Nothing but an experiment, a sweep, a group
    of hydra's or hydra.mode itself can ask for another mode than the command line does, so unless one of them was typed
    Hydra is told None: as the command line says.
    """
    thorough = Hydra.get_mode

    def get_mode(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        if config_name != "config" or any(MAY_SET_MODE.match(o) for o in overrides):
            return thorough(self, config_name, overrides)
        return None

    Hydra.get_mode = get_mode  # type: ignore[method-assign]


def map_choices_where_needed() -> None:
    """Leaves out, in this process, the map of all choices that Hydra makes anew for each YAML: a quarter of composing.

    Only ${…} in a defaults list is looked up in it, and few lists have that.
    """
    whole = defaults_list._create_interpolation_map

    def mapped(overrides: Any, defaults: list[InputDefault], self_added: bool) -> Any:
        if any(not default.is_self() and default.is_interpolation() for default in defaults):
            return whole(overrides, defaults, self_added)
        return None

    defaults_list._create_interpolation_map = mapped  # type: ignore[assignment]


@contextlib.contextmanager
def read_once(loader: ConfigLoader) -> Iterator[None]:
    """Has every YAML read once in the block, however many jobs are composed in it: a third of each job's time."""
    reading = vars(loader)["repository"]
    vars(loader)["repository"] = _ReadOnce(reading)
    try:
        yield
    finally:
        vars(loader)["repository"] = reading


class _ReadOnce(CachingConfigRepository):
    """Hydra's own cache, which lives for one composition, for several: what it gives out may be changed."""

    def __deepcopy__(self, memo: object) -> _ReadOnce:
        return self  # each composition copies its repository

    def load_config(self, config_path: str) -> Any:
        if (found := super().load_config(config_path)) is not None:
            found = copy.copy(found)
            found.config = copy.deepcopy(found.config)
        return found
