"""The YAMLs in conf/ and in a user's folders: the options of each group, and what their defaults lists name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra._internal.config_repository import IConfigRepository
from hydra.core.default_element import ConfigDefault, GroupDefault, InputDefault
from omegaconf import Container, OmegaConf


class Tree:
    """The YAMLs that Hydra can find. Each call reads them again: only messages need them, no run does.

    Args:
        repository: Where Hydra finds it.
        conf: The folder of the shipped YAMLs.
    """

    def __init__(self, repository: IConfigRepository, conf: Path) -> None:
        self.conf = conf
        self._repository = repository

    def is_group(self, name: str) -> bool:
        """Whether this folder has options."""
        return self._repository.group_exists(name)

    def options(self, group: str) -> list[str]:
        """The options of a group, including the user's."""
        return self._repository.get_group_options(group)

    def is_shipped(self, group: str, option: str) -> bool:
        """Whether an option ships with Drydock."""
        return (self.conf / group / f"{option}.yaml").is_file()

    def content(self, path: str) -> Container:
        """The content of one YAML, such as "also/image"; empty where there is none."""
        loaded = self._repository.load_config(path)
        return loaded.config if loaded else OmegaConf.create({})

    def defaults(self, path: str) -> Sequence[InputDefault]:
        """The defaults list of a YAML."""
        loaded = self._repository.load_config(path)
        return (loaded and loaded.defaults_list) or []

    def includes(self, group: str, option: str) -> Iterator[str]:
        """An option and all options of its group that its defaults list includes, directly or not."""
        yield option
        for default in self.defaults(f"{group}/{option}"):
            if isinstance(default, ConfigDefault) and not default.is_self():
                included = str(default.path).removeprefix(f"/{group}/")
                if "/" not in included:
                    yield from self.includes(group, included)

    def decided(self, group: str, option: str) -> Iterator[tuple[str, str]]:
        """The groups whose option another choice decides, each with that choice: ("wiring/ir", "precision")."""
        for name in self.includes(group, option):
            for default in self.defaults(f"{group}/{name}"):
                if isinstance(default, GroupDefault) and (by := re.fullmatch(r"\$\{(\w+)\}", str(default.value))):
                    yield str(default.group).removeprefix("/"), by[1]

    def offered(self, group: str, option: str, choice: str) -> list[str]:
        """The options of `choice` that exist in every group whose option `choice` decides."""
        options = [set(self.options(decided)) for decided, by in self.decided(group, option) if by == choice]
        return sorted(set.intersection(*options)) if options else []
