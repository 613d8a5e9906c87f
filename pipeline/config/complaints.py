"""Turns what Hydra and OmegaConf say of a configuration into our own errors, with a near match and what to type."""

from __future__ import annotations

import re
from pathlib import Path

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
    ValidationError,
)
from yaml import MarkedYAMLError, YAMLError

from pipeline.config import unresolved, wiring
from pipeline.errors import BackendMissing, ConfigError, DrydockError, Problem, listed, nearest

# What composing a configuration raises.
RAISED = (HydraException, OmegaConfBaseException, YAMLError)
# The launchers that plugins bring, and the extras of ours that bring those.
LAUNCHERS = {"joblib": "pool", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray"}
# What an option is called now, by group and option.
RENAMED = {"also/raw_images": "also=image"}


def of_hydra(error: Exception, conf: Path, *, sweeps: bool = True) -> DrydockError:
    """Our own error for any error while a configuration was composed: a ConfigError, unless it is one of ours.

    Args:
        error: What was raised.
        conf: The folder of the shipped configurations.
        sweeps: Whether the command accepts several values of a key.
    """
    if ours := next((e for e in chain(error) if isinstance(e, DrydockError)), None):
        return ours  # one of our callbacks cannot work here
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing_option(error)
    if missing := re.search(r"[Mm]issing mandatory value: (\S+)", str(error)):
        return ConfigError(f"{missing[1]} has no value", command=f"{missing[1]}=VALUE")
    cause = next((e for e in chain(error) if isinstance(e, OmegaConfBaseException)), None)
    if isinstance(cause, (ConfigKeyError, ConfigAttributeError)):
        return _unknown_key(cause, conf)
    if isinstance(cause, InterpolationResolutionError):
        return unresolved.error(cause)
    if isinstance(cause, ValidationError):
        what = f"{cause.full_key}: {_first_line(cause)}".removeprefix(": ")
        return ConfigError(what, command="python -m pipeline --cfg job shows the types in force")
    if isinstance(broken := next((e for e in chain(error) if isinstance(e, YAMLError)), None), MarkedYAMLError):
        mark = broken.problem_mark
        where = f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}" if mark else "a YAML file"
        return ConfigError(
            f"{where}: {broken.problem}",
            allowed="YAML",
            command="python -m pipeline --info defaults shows what is read",
        )
    if "--multirun" in str(error):
        how = "-m before the first KEY=VALUE, to sweep over it" if sweeps else "one value: this command does not sweep"
        return ConfigError(_first_line(error).partition(" 1. ")[0], command=how)
    if exchanging := re.match(r"In '([^']+)/([^']+)': Could not override '([^']+)'", str(error)):
        group, option, place = exchanging.groups()
        return ConfigError(
            f"{group}={option} replaces {place}, which no other choice has",
            allowed=f"what conf/{group}/{option}.yaml says that it goes with",
            command=f"the target and the precision that it names, or without {group}={option}",
        )
    return ConfigError(_first_line(error), command="python -m pipeline --cfg job shows every key, --help every choice")


def of_logging(error: Exception) -> ConfigError | None:
    """Our error for an error of Python's logging about its configuration; None for any other error."""
    if not (match := re.match(r"Unable to (?:configure|add|set) (\w+)(?: '([^']+)')?", str(error))):
        return None
    place = f"hydra.job_logging.{match[1]}s{f'.{match[2]}' if match[2] else ''}"
    why = f": {_first_line(error.__cause__)}" if error.__cause__ else ""
    return ConfigError(f"{place}, or the same of hydra.hydra_logging, cannot be used{why}", command=f"no {place}=…")


def _missing_option(error: MissingConfigException) -> DrydockError:
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    if group == "hydra/launcher" and option in LAUNCHERS:
        return BackendMissing(
            f"the launcher {option} is not installed", command=f"pip install 'torch-drydock[{LAUNCHERS[option]}]'"
        )
    if now := RENAMED.get(f"{group}/{option}"):
        return ConfigError(f"{group}={option} is {now} now", command=now)
    options = sorted(error.options or [])
    asker = re.match(r"In '([^']+/[^']+)'", str(error))  # another choice names it, not the person
    return ConfigError(
        f"{group or 'config'}={option}{f', which {asker[1]} asks for' if asker else ''}: "
        f"there is no such option{nearest(option, options)}",
        allowed=listed(options, 30),
        command=f"{f'a choice with which {asker[1]} asks for one of these' if asker else f'{group}=NAME'}, "
        f"or add ./conf/{group}/{option}.yaml of your own",
    )


def _unknown_key(error: ConfigKeyError | ConfigAttributeError, conf: Path) -> ConfigError:
    parent = error.parent_node if isinstance(error.parent_node, DictConfig) else None
    keys = [str(k) for k in parent] if parent is not None else []
    return ConfigError(no_such_key(str(error.full_key or error.key), keys, conf))


def no_such_key(full: str, keys: list[str], conf: Path) -> Problem:
    """The Problem for a key that the configuration does not have.

    Args:
        full: The key with everything it is in, such as "stages.export.opsett".
        keys: What its parent does have; at the top, config groups may be meant too.
    """
    if full == "model._target_":
        return Problem(
            "model._target_: a model's class stands under factory, and its arguments under kwargs",
            allowed="_target_ and _partial_ inside kwargs",
            command="factory: my_pkg.net.Net and kwargs: {…} in its place; docs/models.md has an example",
        )
    if "." not in full:
        keys = sorted({*keys, *(d.name for d in conf.iterdir() if d.is_dir() and d.name != wiring.GROUP)})
    return Problem(
        f"{full}: there is no such key{nearest(full.rpartition('.')[2], keys)}",
        allowed=listed(keys, 30),
        command="python -m pipeline --cfg job shows every key; +vars.NAME=VALUE is one of your own",
    )


def chain(error: BaseException | None) -> list[BaseException]:
    """An error, its cause, the cause of that, and so on."""
    errors: list[BaseException] = []
    while error is not None and error not in errors:
        errors.append(error)
        error = error.__cause__ or error.__context__
    return errors


def _first_line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error).strip().split("\n    full_key")[0])
