"""From a stage's configuration to the stage: the one place where a name in a config becomes code.

One of our stages is written by its name (`_target_: simplify`), wherever its file is. Any other stage is a dotted path
(`_target_: my_pkg.fp8.CastFp8`) into a package that the user has named outside the config. Only subclasses of
`pipeline.stage.Stage` are called, and only with typed settings. Hydra's own `instantiate` would call anything that can
be imported; it is not used.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Mapping
from fnmatch import fnmatch
from importlib import metadata
from typing import TYPE_CHECKING, Any

from pipeline.code import names
from pipeline.errors import ConfigError, Problem, listed, nearest
from pipeline.stage import Stage, name_of, snake_case

if TYPE_CHECKING:
    from omegaconf.errors import OmegaConfBaseException

TRUST = "DRYDOCK_TRUST"
ENTRY_POINTS = "drydock.stages"


def find_stage(target: str) -> type[Stage]:
    """The stage class behind a `_target_`: the name of a stage of ours, or the dotted path of another class.

    A dotted path into `stages` is read as the name of its class, so that paths from before a file moved still work.

    Raises:
        ConfigError: When there is no such stage, its name is one of ours, or the path is not trusted, cannot be
            imported, or is no Stage.
    """
    module, _, name = target.rpartition(".")
    if not module or names.is_ours(module):
        module, name = _of_ours(target)
    elif not _trusted(target):
        raise ConfigError(
            f"_target_ {target} is not among the stages that may be built",
            allowed=f"the stages that ship, packages with an entry point in '{ENTRY_POINTS}', and what {TRUST} names",
            command=f"{TRUST}='{module.partition('.')[0]}.*' python -m pipeline … if you wrote it or have read it",
        )
    try:
        stage = getattr(importlib.import_module(module), name)
    except Exception as e:  # a module may raise anything while it is imported
        raise ConfigError(f"_target_ {target} cannot be imported: {type(e).__name__}: {e}") from e
    if not (isinstance(stage, type) and issubclass(stage, Stage)):
        raise ConfigError(f"_target_ {target} is no stage", allowed="a subclass of pipeline.stage.Stage")
    if not names.is_ours(stage.__module__) and names.shipped(own := name_of(stage)):
        raise ConfigError(
            f"_target_ {target} is named {own}, as a stage that ships is",
            allowed="a class whose name no other stage has: keys and records carry it",
            command=f"rename the class, such as to My{stage.__name__}",
        )
    return stage


def _of_ours(target: str) -> tuple[str, str]:
    """The module and the class of a stage of ours. Raises ConfigError."""
    name = snake_case(target.rpartition(".")[2])
    homes = names.homes(name)
    if len(homes) > 1:
        homes = [home for home in homes if _is_stage(home, names.class_of(name))] or homes
    if len(homes) > 1:
        raise ConfigError(f"two stages are named {name}: {listed(homes)}", command="rename one of the classes")
    if homes:
        return homes[0], names.class_of(name)
    raise ConfigError(
        f"_target_ {target}: there is no stage named '{name}'{nearest(name, names.all_shipped())}",
        allowed="the name of a stage, as in conf/stage/*.yaml, or the dotted path of a class of yours",
        command="ls conf/stage shows the stages that ship",
    )


def _is_stage(module: str, name: str) -> bool:
    candidate = getattr(importlib.import_module(module), name)
    return isinstance(candidate, type) and issubclass(candidate, Stage)


def build_stage(place: str, settings: Mapping[str, Any]) -> Stage:
    """A stage from plain, resolved settings, each checked against the type of its field.

    Args:
        place: Where the settings stand, such as "stages.export".
        settings: `_target_` and one value for each field.

    Raises:
        ConfigError: With every problem found.
    """
    from omegaconf import OmegaConf  # imported here: a run with a cached composition does not need it
    from omegaconf.errors import OmegaConfBaseException

    values = {k: v for k, v in settings.items() if k not in ("_target_", "needs")}
    if not isinstance(settings.get("_target_"), str):
        raise ConfigError(
            f"{place} has no _target_",
            allowed="the name of a stage, as in conf/stage/*.yaml, or the dotted path of a class of yours",
            command=f"+stage@{place}=NAME mounts one of the shipped stages",
        )
    stage = find_stage(settings["_target_"])
    fields = [f.name for f in dataclasses.fields(stage)]
    problems = [
        Problem(f"{place}.{k} is no setting of {stage.__name__}{nearest(k, fields)}", allowed=listed(fields))
        for k in values
        if k not in fields
    ]
    if problems:
        raise ConfigError(problems)
    node = OmegaConf.structured(stage)
    OmegaConf.set_readonly(node, None)
    try:
        node.merge_with(values)
        built = OmegaConf.to_object(node)
    except OmegaConfBaseException as e:
        raise ConfigError(_each_wrong_value(place, stage, values) or [_problem(place, "", e)]) from e
    assert isinstance(built, Stage)
    return built


def _each_wrong_value(place: str, stage: type[Stage], values: Mapping[str, Any]) -> list[Problem]:
    """One problem for each wrong setting. Merging all settings at once would stop at the first."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    node = OmegaConf.structured(stage)
    OmegaConf.set_readonly(node, None)
    problems = []
    for name, value in values.items():
        try:
            node.merge_with({name: value})
        except OmegaConfBaseException as e:
            problems.append(_problem(place, name, e))
    return problems


def _problem(place: str, name: str, error: OmegaConfBaseException) -> Problem:
    return Problem(f"{place}.{error.full_key or name}: {str(error.msg or error).splitlines()[0]}")


def _trusted(target: str) -> bool:
    patterns = filter(None, os.environ.get(TRUST, "").split(":"))
    if any(fnmatch(target, pattern) or target.startswith(f"{pattern}.") for pattern in patterns):
        return True
    return any(target.startswith(f"{e.value}.") for e in metadata.entry_points(group=ENTRY_POINTS))
