"""From a stage's configuration to the stage: the one place where a name in a config becomes code.

Only a `_target_` that resolves to a `pipeline.stage.Stage` is ever called, only with typed settings, and only from
`stages.*` or a package that the person at the keyboard, not the config, has named. Hydra's own `instantiate` would call
anything importable; it is not used.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Mapping
from fnmatch import fnmatch
from importlib import metadata
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.errors import ConfigError, Problem, listed, nearest
from pipeline.stage import Stage

TRUST = "DRYDOCK_TRUST"
ENTRY_POINTS = "drydock.stages"


def find_stage(target: str) -> type[Stage]:
    """The stage class behind a `_target_`.

    Raises:
        ConfigError: When the name is not trusted, cannot be imported, or is no Stage.
    """
    module, _, name = target.rpartition(".")
    if not _trusted(target):
        raise ConfigError(
            f"_target_ {target} is not among the stages that may be built",
            allowed=f"stages.*, packages with an entry point in the group '{ENTRY_POINTS}', and what {TRUST} names",
            command=f"{TRUST}='{module.partition('.')[0]}.*' python -m pipeline … if you wrote it or have read it",
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as e:  # a module may raise anything while it is imported
        raise ConfigError(f"_target_ {target} cannot be imported: {type(e).__name__}: {e}") from e
    if not (isinstance(found, type) and issubclass(found, Stage)):
        raise ConfigError(f"_target_ {target} is no stage", allowed="a subclass of pipeline.stage.Stage")
    return found


def build_stage(place: str, settings: Mapping[str, Any]) -> Stage:
    """A stage from plain, resolved settings, each checked against the type of its field.

    Args:
        place: Where the settings stand, such as "stages.export".
        settings: `_target_` and one value for each field.

    Raises:
        ConfigError: With every problem found.
    """
    given = {k: v for k, v in settings.items() if k not in ("_target_", "needs")}
    if not isinstance(settings.get("_target_"), str):
        raise ConfigError(
            f"{place} has no _target_",
            allowed="the dotted path of a stage class, as in conf/stage/*.yaml",
            command=f"+stage@{place}=NAME mounts one of the shipped stages",
        )
    stage = find_stage(settings["_target_"])
    fields = [f.name for f in dataclasses.fields(stage)]
    problems = [
        Problem(f"{place}.{k} is no setting of {stage.__name__}{nearest(k, fields)}", allowed=listed(fields))
        for k in given
        if k not in fields
    ]
    if problems:
        raise ConfigError(problems)
    node = OmegaConf.structured(stage)
    OmegaConf.set_readonly(node, None)
    try:
        node.merge_with(given)
        built = OmegaConf.to_object(node)
    except OmegaConfBaseException as e:
        raise ConfigError(_each_wrong_value(place, stage, given) or [_told(place, "", e)]) from e
    assert isinstance(built, Stage)
    return built


def _each_wrong_value(place: str, stage: type[Stage], given: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with each setting by itself: a merge of them all stops at the first."""
    node = OmegaConf.structured(stage)
    OmegaConf.set_readonly(node, None)
    problems = []
    for name, value in given.items():
        try:
            node.merge_with({name: value})
        except OmegaConfBaseException as e:
            problems.append(_told(place, name, e))
    return problems


def _told(place: str, name: str, error: OmegaConfBaseException) -> Problem:
    return Problem(f"{place}.{error.full_key or name}: {str(error.msg or error).splitlines()[0]}")


def _trusted(target: str) -> bool:
    if target.startswith("stages."):
        return True
    named = filter(None, os.environ.get(TRUST, "").split(":"))
    if any(fnmatch(target, pattern) or target.startswith(f"{pattern}.") for pattern in named):
        return True
    return any(target.startswith(f"{e.value}.") for e in metadata.entry_points(group=ENTRY_POINTS))
