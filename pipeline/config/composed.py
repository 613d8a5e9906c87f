"""A job's configuration, and its stages and its store, which are read from it without Hydra."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import remotes
from pipeline.config.instantiate import TRUST, build_stage
from pipeline.errors import ConfigError, Problem
from pipeline.planning import graph, plan
from pipeline.planning.graph import Node
from pipeline.stage import Stage
from pipeline.store import Store, Trust, places

log = logging.getLogger(__name__)
# The stages that this process has built, by name and settings: jobs of a sweep share most of them.
_known: dict[str, Stage] = {}


@dataclass(frozen=True)
class Composed:
    """One job's configuration.

    Args:
        config: Plain values, every interpolation resolved; its keys are those of `pipeline.config.schema.Root`.
        overrides: The overrides that were typed, without Hydra's own.
        choices: Config group to the option that was chosen; None where none is.
        surroundings: Hydra's own overrides that are needed to compose it again: the run's folder, and where to look
            for YAMLs.
        stages: The stages, if they are built already.
    """

    config: dict[str, Any]
    overrides: list[str]
    choices: dict[str, str | None]
    surroundings: list[str]
    stages: Mapping[str, Stage] | None = None


def checked_graph(config: Mapping[str, Any], stages: Mapping[str, Stage] | None = None) -> list[Node]:
    """The stages in order, after all checks that need no work.

    Args:
        config: The configuration.
        stages: Its stages, if they are built already.

    Raises:
        ConfigError: With every problem of the settings, and then every missing library too.
        BackendMissing: With every missing library, when the settings are right.
    """
    nodes = graph_of(config, stages)
    plan.check(nodes)
    for name in graph.unused(nodes):
        log.warning("stages.%s: nothing uses what it makes; 'stages.save.needs=[%s]' would deliver it", name, name)
    return nodes


def graph_of(config: Mapping[str, Any], stages: Mapping[str, Stage] | None = None) -> list[Node]:
    """The stages in order, each built from its settings. Raises ConfigError with every problem."""
    stages = _built(config) if stages is None else stages
    needs = {name: config["stages"][name].get("needs") or () for name in stages}
    return graph.build(stages, {name: [n] if isinstance(n, str) else n for name, n in needs.items()})


def _built(config: Mapping[str, Any]) -> dict[str, Stage]:
    stages: dict[str, Stage] = {}
    problems: list[Problem] = []
    for name, settings in config["stages"].items():
        if not isinstance(settings, Mapping):
            allowed = "a stage's settings, with _target_"
            problems.append(
                Problem(f"stages.{name} is {json.dumps(settings)}", allowed, f"'~stages.{name}' leaves it out")
            )
            continue
        key = f"{name} {json.dumps(settings, default=repr)} {os.environ.get(TRUST)}"
        try:
            stages[name] = _known[key] = _known.get(key) or build_stage(f"stages.{name}", settings)
        except ConfigError as e:
            problems += e.problems
    if problems:
        raise ConfigError(problems)
    return stages


def store_folders(config: Mapping[str, Any], here: Path | None = None) -> list[Path]:
    """The folder that keeps finished stages, then the folders that are only searched for them.

    `store`, a folder or a list of them; else $DRYDOCK_STORE, with colons between them; else drydock/ in the user's
    cache folder. A relative `store` is relative to `here`, or else to the current folder.

    Raises ConfigError for a `store` that is neither.
    """
    configured = config["store"]
    if configured:
        folders = [configured] if isinstance(configured, str) else configured
        if not isinstance(folders, list) or not all(isinstance(folder, str) and folder for folder in folders):
            raise ConfigError(
                f"store is {configured!r}",
                allowed="a folder, or a list of them: the first is written to, the others are only read",
                command="store=/mine, or 'store=[/mine,/theirs]'",
            )
        return [(here or Path.cwd()) / Path(folder).expanduser() for folder in folders]
    return places.usual()


def store_of(config: Mapping[str, Any], here: Path | None = None) -> Store:
    """The store of a configuration, with its trusted users and its remote. Raises ConfigError, BackendMissing."""
    folders, trust = store_folders(config, here), Trust.of(config["trust"])
    return Store(*folders, trust=trust, elsewhere=remotes.of(config, folders[0], trust, here))
