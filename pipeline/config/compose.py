"""From overrides to a configuration: what every command of ours begins with.

Importing this module tells Hydra where our configurations lie, which types they have, and where to look for a
user's. `python -m pipeline` composes through `hydra.main`, every other command through `compose`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from pipeline import errors
from pipeline.config import choices, complaints, hydra_shortcuts, inputs, remotes, resolvers, slips, unread
from pipeline.config.composed import Composed
from pipeline.config.schema import ROOT, register
from pipeline.config.wiring import CONF
from pipeline.errors import ConfigError, Problem

# Providers of search path entries that Hydra itself, or every start of ours, adds.
OURS = ("main", "drydock", "hydra", "schema")


class UserConfigs(SearchPathPlugin):
    """Adds ./conf and the folders that DRYDOCK_CONF names after the shipped ones: options are added, never shadowed."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if all(str(CONF) not in str(element.path) for element in search_path.get_path()):
            return  # another program, which uses Hydra too
        for folder in folders()[1:]:
            search_path.append("drydock", f"file://{folder}")


Plugins.instance().register(UserConfigs)
register(CONF)
resolvers.register()
hydra_shortcuts.map_choices_where_needed()
choices.guard(CONF)


def compose(overrides: Sequence[str]) -> Composed:
    """The configuration of `python -m pipeline OVERRIDES…`. Makes no run folder.

    Raises:
        ConfigError: For every error in the overrides or in a YAML, and for a sweep over several values.
    """
    refuse_missing_folders()
    before, theirs = HydraConfig.instance().cfg, GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()  # belongs to a program that Hydra runs
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = hydra.compose("config", list(overrides), return_hydra_config=True)
            # As hydra.core.utils.run_job does, so that ${hydra:…} means the same here.
            HydraConfig.instance().set_config(cfg)
            with read_write(cfg.hydra.runtime):
                cfg.hydra.runtime.output_dir = str(Path(cfg.hydra.run.dir).absolute())
            HydraConfig.instance().set_config(cfg)
            with read_write(cfg), open_dict(cfg):
                del cfg["hydra"]
            return of_job(cfg)
    except complaints.RAISED as e:
        raise complaints.of_hydra(e, CONF, sweeps=False) from e
    finally:
        HydraConfig.instance().cfg = before
        GlobalHydra.instance().hydra = theirs


def changed(composed: Composed, choices: Mapping[str, str]) -> Composed:
    """The same configuration with other options in some groups, in the same run folder.

    Raises ConfigError: for options that do not go with the rest, or that lack a key that was typed.
    """
    typed = [o for o in composed.overrides if o.partition("=")[0].strip() not in choices]
    return compose([*composed.surroundings, *typed, *(f"{group}={option}" for group, option in choices.items())])


def of_job(cfg: DictConfig) -> Composed:
    """The configuration of the job that Hydra is running. Raises ConfigError with every key that is wrong."""
    overrides = typed(HydraConfig.get())
    return Composed(_resolved(cfg, overrides), overrides, dict(HydraConfig.get().runtime.choices), _surroundings())


def _surroundings() -> list[str]:
    """Overrides that compose again the job that Hydra is running, in its own folder."""
    runtime = HydraConfig.get().runtime
    folders = [s.path for s in runtime.config_sources if s.schema == "file" and s.provider not in OURS]
    search_path = [f"hydra.searchpath={json.dumps([f'file://{path}' for path in folders])}"] if folders else []
    return [f"hydra.run.dir={json.dumps(str(runtime.output_dir))}", *search_path]


def typed(hydra: Any) -> list[str]:
    """The overrides of a job as they were typed, from Hydra's own configuration; ${…} in them is not resolved."""
    task = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    assert isinstance(task, list)
    return [str(override) for override in task]


def stage_settings(name: str) -> dict[str, Any]:
    """`_target_` and the settings of a shipped stage, as its YAML has them. Raises ConfigError."""
    return dict(compose([f"+stage@stages.asked_for={name}"]).config["stages"]["asked_for"])


def folders() -> list[Path]:
    """Where configurations are looked for, in order: the shipped ones, ./conf, and what DRYDOCK_CONF names."""
    own = [f.absolute() for f in (Path("conf"), *_environment_folders()) if f.is_dir() and f.resolve() != CONF]
    return [CONF, *own]


def refuse_missing_folders() -> None:
    """Raises ConfigError when DRYDOCK_CONF names something that is no folder; Hydra would ignore it silently."""
    if missing := [str(f) for f in _environment_folders() if not f.is_dir()]:
        raise ConfigError(f"DRYDOCK_CONF names {errors.listed(missing)}, which is no folder")


def _environment_folders() -> list[Path]:
    return [Path(f) for f in os.environ.get("DRYDOCK_CONF", "").split(":") if f]


def refuse_unknown(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Raises ConfigError for unknown and for removed top-level keys, for sizes that are no range, and for
    keys of the model that nothing reads.

    Args:
        cfg: A whole configuration, or one without Hydra's own part.
        overrides: The overrides that it was composed with.
    """
    if unknown := [str(k) for k in cfg if k not in (*ROOT, "hydra")]:
        if (own := slips.no_such_keys(unknown, overrides)) is not None:
            raise own
        raise ConfigError([complaints.no_such_key(k, ROOT, CONF) for k in unknown])
    if removed := [name for name in ROOT if name not in cfg]:
        raise ConfigError(
            [Problem(f"~{name} removes a key that every run needs", command=f"no ~{name}") for name in removed]
        )
    inputs.refuse_sizes(cfg, overrides)
    unread.refuse(cfg, overrides)


def _resolved(cfg: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration as plain values. Raises ConfigError with every key and value that is unknown or missing."""
    refuse_unknown(cfg, overrides)
    if missing := list(_missing(OmegaConf.to_container(cfg, resolve=False), "")):
        raise ConfigError([Problem(f"{m} has no value", command=f"{m}=VALUE") for m in missing])
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True, enum_to_str=True)
    except OmegaConfBaseException as e:
        raise complaints.of_hydra(e, CONF) from e
    assert isinstance(plain, dict)
    config = {str(k): v for k, v in plain.items()}
    remotes.address_of(config)  # here, before any of it is written to a file: it may have a secret in it
    return config


def _missing(value: Any, place: str) -> Iterator[str]:
    """The places that still have ???. OmegaConf.missing_keys also resolves everything and takes ten times as long."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _missing(item, f"{place}.{name}".lstrip("."))
    elif value == "???":
        yield place
