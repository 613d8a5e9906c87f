"""Refuses impossible choices, with a message. Every composition of ours passes through here.

typed ──► none of it is wiring ──► Hydra composes ──► each `goes_with` holds
                                     └── it cannot ──► because two choices do not go together?
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import DefaultsList
from hydra.core.default_element import GroupDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pipeline.config import goes_with, inputs, remote_words, slips, unreadable, wiring
from pipeline.config.again import with_change
from pipeline.config.schema import Root
from pipeline.config.tree import Tree
from pipeline.errors import ConfigError, Problem, listed, nearest

Compose = Callable[[list[str]], DictConfig]


def guard(conf: Path) -> None:
    """Refuses and hides what a person may not choose, in every composition from `conf` in this process.

    Hydra has no hook for that, so this replaces three methods of its loader and one of its YAML reader. The pin on
    hydra-core keeps these methods, and tests notice when one goes.
    """
    compose, lists = ConfigLoaderImpl.load_configuration, ConfigLoaderImpl.compute_defaults_list
    options = ConfigLoaderImpl.get_group_options

    def load_configuration(
        self: ConfigLoaderImpl, config_name: str | None, overrides: list[str], run_mode: RunMode, **how: bool
    ) -> DictConfig:
        if config_name != "config" or all(source.path != str(conf) for source in self.get_sources()):
            return compose(self, config_name, overrides, run_mode, **how)

        def again(typed: list[str]) -> DictConfig:
            words = inputs.add_mapping(typed)
            try:
                return compose(self, config_name, words, run_mode, **how)
            except HydraException as e:
                if not inputs.is_nameless(e):
                    raise
                return compose(self, config_name, inputs.add_names(words), run_mode, **how)

        with _raised_by_hydra():
            wiring.refuse(overrides, conf)
            slips.refuse_fixed(overrides)
            unreadable.refuse_numbers(overrides, tree := Tree(self.repository, conf))
            of_remote = remote_words.typed(overrides)
            overrides = [o for o in overrides if o not in of_remote]
            try:
                cfg = _composed(overrides, run_mode, again, tree)
            except RecursionError as e:
                raise unreadable.endless(overrides, tree) from e
            except (HydraException, AssertionError) as e:
                if (slip := slips.explained(e, overrides, again, tree, sweeps=how.get("from_shell", True))) is None:
                    raise
                raise slip from e
            inputs.remove_others(cfg, overrides)
            remote_words.settle(cfg, of_remote)
            return cfg

    def compute_defaults_list(
        self: ConfigLoaderImpl, config_name: str | None, overrides: list[str], run_mode: RunMode
    ) -> DefaultsList:
        """For --info."""
        with _raised_by_hydra():
            wiring.refuse(overrides, conf)
        return lists(self, config_name, overrides, run_mode)

    def get_group_options(self: ConfigLoaderImpl, group_name: str, *which: Any, **more: Any) -> list[str]:
        """For --help and tab completion."""
        if group_name.partition("/")[0] == wiring.GROUP:
            return []
        return [name for name in options(self, group_name, *which, **more) if group_name or name != wiring.GROUP]

    unreadable.guard()
    ConfigLoaderImpl.load_configuration = load_configuration  # type: ignore[method-assign,assignment]
    ConfigLoaderImpl.compute_defaults_list = compute_defaults_list  # type: ignore[method-assign]
    ConfigLoaderImpl.get_group_options = get_group_options  # type: ignore[method-assign]


@contextlib.contextmanager
def _raised_by_hydra() -> Iterator[None]:
    """Raises our errors as Hydra's own, with ours as the cause: tab completion then ignores them silently."""
    try:
        yield
    except ConfigError as e:
        raise ConfigCompositionException(str(e)) from e


def _composed(overrides: list[str], mode: RunMode, compose: Compose, tree: Tree) -> DictConfig:
    """The configuration. Raises ConfigError where choices do not go together, and what Hydra raises for all else."""
    try:
        cfg = compose(overrides)
    except HydraException as e:
        if mode is RunMode.MULTIRUN and (first := _first_job(overrides, tree)) != overrides:
            cfg = _composed(first, mode, compose, tree)
            typed = dict(zip(first, overrides, strict=True))
            task = OmegaConf.to_container(cfg.hydra.overrides.task, resolve=False)
            assert isinstance(task, list)
            cfg.hydra.overrides.task = [typed[str(o)] for o in task]
            return cfg
        if problems := list(_excluded(e, overrides, compose, tree)):
            raise ConfigError(problems) from e
        if typed_wrong := _of_the_person(e, overrides, tree):
            raise typed_wrong from e
        raise
    problems = list(_left_out(cfg, tree))
    problems += _no_options(cfg, tree)
    if mode is RunMode.RUN:  # each job of a sweep has choices of its own
        problems += goes_with.broken(cfg.goes_with, cfg, tree)
    if problems:
        raise ConfigError(problems)
    return cfg


def _no_options(cfg: DictConfig, tree: Tree) -> Iterator[Problem]:
    """A problem for each option in `instead` that does not exist. A run would notice only when a stage fails."""
    for group in map(str, cfg.instead):
        options = [o for o in tree.options(group) if o != "none"]
        for option in cfg.instead[group]:
            if option not in options:
                what = f"instead.{group} has {option}, which is no option of {group}{nearest(str(option), options)}"
                yield Problem(what, listed(options), f"'instead.{group}=[]' for none")


def _first_job(overrides: list[str], tree: Tree) -> list[str]:
    """A sweep's overrides with the first option of each swept group; Hydra itself leaves such overrides out."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    swept = [o.value_type in (ValueType.CHOICE_SWEEP, ValueType.SIMPLE_CHOICE_SWEEP) for o in parsed]
    return [
        f"{o.get_key_element()}={next(o.sweep_string_iterator())}" if s and tree.is_group(o.key_or_group) else typed
        for o, s, typed in zip(parsed, swept, overrides, strict=True)
    ]


def _of_the_person(error: HydraException, overrides: list[str], tree: Tree) -> MissingConfigException | None:
    """The error for a typed option that does not exist, without the YAML that names its group; None if not typed."""
    group, _, option = str(getattr(error, "missing_cfg_file", "")).rpartition("/")
    if any(_key(o) == group and option in _options(o) for o in overrides):
        return MissingConfigException("", f"{group}/{option}", tree.options(group))
    return None


def _excluded(error: HydraException, overrides: list[str], compose: Compose, tree: Tree) -> Iterator[Problem]:
    """Why Hydra could not compose, where the reason is that two choices do not go together."""
    asker = match[1] if (match := re.match(r"In '([^']+)'", str(error))) else ""
    missing = str(getattr(error, "missing_cfg_file", ""))
    if old := list(_renamed(asker, tree)):
        yield from old
    elif missing.startswith(f"{wiring.GROUP}/"):
        yield from _not_offered(missing, asker, overrides, compose, tree)
    elif additions := [o for o in overrides if _key(o) == "also"]:
        with contextlib.suppress(HydraException):
            cfg = compose([*(o for o in overrides if o not in additions), "also=[]"])
            for name in _options(additions[-1]):
                rules = OmegaConf.structured(Root).goes_with
                rules.merge_with(OmegaConf.select(tree.content(f"also/{name}"), "goes_with", default={}))
                yield from goes_with.broken(rules, cfg, tree)


def _renamed(path: str, tree: Tree) -> Iterator[Problem]:
    """Entries of a YAML's defaults list that have the former name of a group."""
    for default in tree.defaults(path):
        if isinstance(default, GroupDefault):
            group, option = f"{'override ' if default.override else ''}{default.group}", str(default.value)
            written = f"{group}: {option}"
        else:
            written = str(getattr(default, "path", ""))
            group, _, option = written.rpartition("/")
        if problem := wiring.renamed(group, option, f"{path}.yaml names {written}", tree.conf):
            yield problem


def _left_out(cfg: DictConfig, tree: Tree) -> Iterator[Problem]:
    """Optional entries of a defaults list that have a former name: Hydra skips them silently."""
    for key, option in cfg.hydra.runtime.choices.items():
        group = key.partition("@")[0]
        written = f"a defaults list names optional /{group}: {option}"
        if (problem := wiring.renamed(f"/{group}", str(option), written, tree.conf)) and not tree.is_group(group):
            yield problem


def _not_offered(path: str, asker: str, overrides: list[str], compose: Compose, tree: Tree) -> Iterator[Problem]:
    """The Problem of an option for which another choice has no wiring, such as a precision that a target does not have.

    Args:
        path: The missing YAML, such as "wiring/ir/palette4".
        asker: The YAML that names it, such as "target/openvino".
        overrides: What was typed.
        compose: Composes overrides.
        tree: The options that exist.
    """
    group, _, option = path.rpartition("/")
    kind, _, name = asker.partition("/")
    choice = next((by for decided, by in tree.decided(kind, name) if decided == group), None)
    if choice is None:
        return
    offered = tree.offered(kind, name, choice)
    with contextlib.suppress(HydraException, IndexError):  # another option may include this one
        cfg = compose([*(o for o in overrides if _key(o) != choice), f"{choice}={offered[0]}"])
        name = cfg.hydra.runtime.choices[kind]
    others = [o for o in tree.options(kind) if option in tree.offered(kind, o, choice)]
    typed = next((o for o in overrides if _key(o) == choice), None)
    like = next((o for o in offered if o.startswith(option) or option.startswith(o)), None)
    if typed and like:
        command = with_change(overrides, {typed: [f"{choice}={like}"]})
    elif near := difflib.get_close_matches(name, others, 1, 0):
        command = f"{kind}={near[0]} {choice}={option}, or {choice}={offered[0]}"
    elif option in tree.options(before := group.removeprefix(f"{wiring.GROUP}/")):
        command = f"move conf/{before}/{option}.yaml of yours to conf/{path}.yaml"
    else:
        command = f"write ./conf/{path}.yaml, as conf/{group}/{offered[0]}.yaml is"
    goes = f"{kind}={listed(others)}" if others else f"no {kind}"
    yield Problem(
        f"{choice}={option} does not go with {kind}={name}",
        allowed=f"with {kind}={name}: {listed(offered)}; {choice}={option} goes with {goes}",
        command=command,
    )


def _options(override: str) -> list[str]:
    """The options that an override chooses in a group."""
    value = OverridesParser.create().parse_override(override).value()
    return [str(v) for v in (value if isinstance(value, list) else [value])]


def _key(override: str) -> str:
    return override.lstrip("+").partition("=")[0].partition("@")[0]
