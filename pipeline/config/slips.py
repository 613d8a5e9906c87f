"""Errors for overrides that cannot be composed, with the whole command that was meant, to paste.

`weights=net.pth` is `model.weights=net.pth`, `model=resnet101` is `model=torchvision model.name=resnet101`. Where no
near match is known, complaints.py says what is wrong.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hydra.core.default_element import GroupDefault
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from pipeline.config import again, complaints, habits
from pipeline.config.schema import VARIABLES
from pipeline.config.tree import Tree
from pipeline.errors import ConfigError, listed

Compose = Callable[[list[str]], DictConfig]
# Settings of Hydra that are fixed here: the value and the reason of each.
FIXED = {
    "hydra/sweeper": (
        "drydock",
        "our sweeper runs a grid whose jobs share their work; no other sweeper does that",
    ),
    "hydra.job.chdir": ("false", "paths are relative to the folder in which the command is typed"),
}


def refuse_fixed(overrides: Sequence[str]) -> None:
    """Raises ConfigError for settings of Hydra that are fixed here."""
    for typed in overrides:
        key, _, value = typed.lstrip("+").partition("=")
        if key in FIXED and value.lower() != FIXED[key][0]:
            allowed, why = FIXED[key]
            line = again.with_change(overrides, {typed: []})
            raise ConfigError(f"{typed}: {why}", allowed=f"{key}={allowed}, the default", command=line)


def explained(
    error: Exception, overrides: Sequence[str], compose: Compose, tree: Tree, *, sweeps: bool
) -> ConfigError | None:
    """The error for wrong overrides, with the command that was meant; None where no near match is known.

    Args:
        error: What Hydra raised.
        overrides: What was typed.
        compose: Composes overrides.
        tree: The options that exist.
        sweeps: Whether the command accepts several values of a key.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _option(str(error.missing_cfg_file), overrides, tree)
    if isinstance(error, OverrideParseException):
        return _unreadable(error, overrides)
    if unsorted := re.match(r"(?s)In '?([^':]+)'?.*Overrides must be at the end", str(error)):
        return _overrides_first(unsorted[1], tree)
    if isinstance(error, AssertionError):  # Hydra's own failure where a list comes after an override
        paths = [o.lstrip("+").replace("=", "/") for o in overrides if "=" in o]
        return next(
            (_overrides_first(path, tree) for path in paths if _in_order(path, tree) != tree.defaults(path)), None
        )
    if "--multirun" in str(error) and sweeps:
        several = next((o for o in overrides if f"'{o}'" in str(error)), "a key")
        return ConfigError(
            f"{several} has several values, and a run takes one", command=again.with_change(overrides, {}, "-m")
        )
    cause = next((e for e in complaints.chain(error) if isinstance(e, OmegaConfBaseException)), error)
    if deleted := re.search(r"Could not delete from config. '([^']+)' does not exist", str(error)):
        return _key(deleted[1], overrides, compose, tree)
    if isinstance(cause, (ConfigKeyError, ConfigAttributeError)):
        return _key(str(cause.full_key or cause.key), overrides, compose, tree)
    if isinstance(cause, ValidationError) and "is not a ListConfig" in str(cause):
        return _list(str(cause.full_key or cause.key), overrides)
    return None


def no_such_keys(keys: Sequence[str], overrides: Sequence[str]) -> ConfigError | None:
    """The error for unknown top-level keys that were added with +; None where there is none."""
    own = {o: o.lstrip("+") for o in overrides if o.startswith("+") and re.split(r"[.=@/]", o.lstrip("+"))[0] in keys}
    if not own:
        return None
    if near := difflib.get_close_matches(keys[0], _TOP, n=1, cutoff=0.75):
        change = {o: [bare.replace(keys[0], near[0], 1)] for o, bare in own.items() if bare.startswith(keys[0])}
        return ConfigError(
            f"{keys[0]}: there is no such key, did you mean '{near[0]}'?", command=again.with_change(overrides, change)
        )
    change = {o: [f"+{VARIABLES}.{bare}"] for o, bare in own.items()}
    for o in overrides:  # the values that refer to them
        moved = re.sub(rf"\$\{{({'|'.join(map(re.escape, keys))})\b", rf"${{{VARIABLES}.\1", change.get(o, [o])[0])
        if moved != o:
            change[o] = [moved]
    return ConfigError(
        f"{listed(keys)}: there is no such key",
        allowed=f"variables of your own are below {VARIABLES}, and ${{{VARIABLES}.NAME}} stands for them",
        command=again.with_change(overrides, change),
    )


# The names of the top-level keys, only for a near match.
_TOP = ("model", "target", "precision", "stages", "experiment", "sweep", "capture", "route", "also", "hydra")


def _option(path: str, overrides: Sequence[str], tree: Tree) -> ConfigError | None:
    """The error for an option that a group does not have."""
    groups = {o: o.lstrip("+").partition("=")[0].partition("@")[0] for o in overrides}
    fitting = ((o, g) for o, g in groups.items() if path.startswith(f"{g}/") and path.removeprefix(f"{g}/") in o)
    typed, group = next(fitting, ("", ""))
    if not group or path in complaints.RENAMED:
        return None
    option = path.removeprefix(f"{group}/")
    key, _, value = typed.partition("=")
    options = tree.options(group)
    meant = _meant(group, option, options, tree)
    if meant is None:
        return None
    words = meant
    if "," in value:  # one of several options is wrong; the others stay
        (word, *more) = meant
        words = (
            [f"{key}={value.replace(option, word.partition('=')[2])}", *more] if word.startswith(f"{group}=") else meant
        )
    elif meant[0].startswith(f"{group}="):
        words = [f"{key}={meant[0].partition('=')[2]}", *meant[1:]]
    return ConfigError(
        f"{group}={option}: there is no such option, did you mean '{' '.join(meant)}'?",
        allowed=f"{listed(options, 30)}; or ./conf/{group}/{option}.yaml of your own",
        command=again.with_change(overrides, {typed: words}),
    )


def _meant(group: str, option: str, options: Sequence[str], tree: Tree) -> list[str] | None:
    """The overrides that were meant by an option that does not exist."""
    if ours := habits.option(group, option.lower().replace("-", "_")):
        return [f"{group}={ours}"]
    folded = {re.sub(r"[-_. ]", "", o).lower(): o for o in options}
    if same := folded.get(re.sub(r"[-_. ]", "", option).lower()):
        return [f"{group}={same}"]
    if elsewhere := next((g for g in _TOP if g != group and tree.is_group(g) and option in tree.options(g)), None):
        return [f"{elsewhere}={option}"]
    near = difflib.get_close_matches(option, options, n=1, cutoff=0.6 if group != "model" else 0.9)
    if not near and group == "model" and (words := habits.model(option)):
        return words
    near = near or difflib.get_close_matches(option, options, n=1)
    return [f"{group}={near[0]}"] if near else None


def _key(full: str, overrides: Sequence[str], compose: Compose, tree: Tree) -> ConfigError | None:
    """The error for a key that does not exist."""
    typed = next((o for o in overrides if _is_of(o, full)), None)
    if typed is None:
        return None
    sign = "~" if typed.startswith("~") else "+" if typed.startswith("+") else ""
    key, equals, value = typed.lstrip("+~").partition("=")
    others = [o for o in overrides if o != typed]
    with contextlib.suppress(HydraException, OmegaConfBaseException):
        cfg = compose(others)
        if full.startswith(f"{key}."):  # KEY={NAME: …}, where KEY is there and NAME is not
            meant: list[str] | None = [f"+{key}={value}"] if _is_open(cfg, key) else None
        else:
            meant = _meant_key(key, sign, f"{equals}{value}", cfg, tree)
        if meant:
            shown = " ".join(meant)
            return ConfigError(
                f"{full}: there is no such key, did you mean '{shown}'?",
                allowed=_neighbours(full, cfg, tree),
                command=again.with_change(overrides, {typed: meant}),
            )
    return None


def _meant_key(key: str, sign: str, rest: str, cfg: DictConfig, tree: Tree) -> list[str] | None:
    """The overrides that were meant by a key that does not exist.

    Args:
        key: The full key.
        sign: The sign before it, such as +.
        rest: "=" and the value, or nothing.
        cfg: The configuration without it.
        tree: The options that exist.
    """
    head, _, tail = key.partition(".")
    value = rest.removeprefix("=")
    parent, _, name = key.rpartition(".")
    if key == "model._target_":
        return [f"model.factory{rest}"]
    if not parent:
        groups = [g for g in _TOP if tree.is_group(g)]
        if key in ("batch", "batch_size") and value.isdigit() and int(value) > 1:
            return [f"model.dims.batch.opt={value}", f"model.dims.batch.max={value}"]
        if (ours := habits.key(key)) and ours in groups:
            option = habits.option(ours, value) or value
            return (_meant(ours, value, tree.options(ours), tree) if option not in tree.options(ours) else None) or [
                f"{ours}={option}"
            ]
        if ours:
            return [f"{ours}{rest}"]
        if near := difflib.get_close_matches(key, [*groups, *map(str, cfg)], n=1, cutoff=0.75):
            return [f"{near[0]}{rest}"]
        if group := next((g for g in groups if value and value in tree.options(g)), None):
            return [f"{group}={value}"]
    if places := [p for p in _places(head, cfg) if p]:
        full = f"{places[0]}.{tail}".rstrip(".")
        if sign or not tail or OmegaConf.select(cfg, full.rpartition(".")[0]) is not None:
            return [f"{sign}{full}{rest}"]
    if parent and isinstance(at := OmegaConf.select(cfg, parent), DictConfig):
        if near := difflib.get_close_matches(name, map(str, at), n=1):
            return [f"{sign}{parent}.{near[0]}{rest}"]
        if _is_open(cfg, parent) and not sign:
            return [f"+{key}{rest}"]
    return None


def _places(name: str, cfg: DictConfig) -> Iterator[str]:
    """The keys of this name one level down, those of the model first, then those of each stage's settings."""
    for place in ("model", "stages", "target", "runner"):
        part = cfg.get(place)
        if isinstance(part, DictConfig) and name in part:
            yield f"{place}.{name}"
    for stage in cfg.stages:
        settings = cfg.stages._get_node(stage)
        if isinstance(settings, DictConfig) and name in settings:
            yield f"stages.{stage}.{name}"


def _is_open(cfg: DictConfig, place: str) -> bool:
    """Whether a mapping accepts any new key that is added with +."""
    return (place.startswith("model.") or place == VARIABLES) and isinstance(OmegaConf.select(cfg, place), DictConfig)


def _neighbours(full: str, cfg: DictConfig, tree: Tree) -> str:
    parent = full.rpartition(".")[0]
    at: Any = OmegaConf.select(cfg, parent) if parent else cfg
    keys = [str(k) for k in at] if isinstance(at, DictConfig) else []
    return listed(keys if parent else sorted({*keys, *(g for g in _TOP if tree.is_group(g))}), 30)


def _is_of(override: str, full: str) -> bool:
    """Whether an override names a key, or gives a mapping that has it."""
    key = override.lstrip("+~").partition("=")[0]
    return key == full or full.startswith(f"{key}.") or key.startswith(f"{full}.")


def _list(full: str, overrides: Sequence[str]) -> ConfigError | None:
    """The error for one value where the key is a list."""
    typed = next((o for o in overrides if o.lstrip("+").partition("=")[0] == full), None)
    if typed is None:
        return None
    key, _, value = typed.partition("=")
    return ConfigError(
        f"{typed}: {full} is a list", command=again.with_change(overrides, {typed: [f"{key}=[{value}]"]})
    )


def _unreadable(error: OverrideParseException, overrides: Sequence[str]) -> ConfigError | None:
    """The error for a value that Hydra's grammar refuses, with =, brackets or a space in it: it needs quotes."""
    typed = str(error.override)
    key, sign, value = typed.partition("=")
    if not sign or typed not in overrides or value.startswith(("'", '"', "{", "[")):
        return None
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return ConfigError(
        f"{typed}: a value with one of = ( ) [ ] {{ }} : , or a quote in it takes quotes around it",
        command=again.with_change(overrides, {typed: [f"{key}={quoted}"]}),
    )


def _overrides_first(path: str, tree: Tree) -> ConfigError:
    """The error for a YAML whose defaults list has an override before an addition."""
    lines = ", ".join(_in_yaml(part) for part in _in_order(path, tree))
    return ConfigError(
        f"{path}.yaml: its defaults list has an override before an addition",
        allowed="additions first, then overrides",
        command=f"defaults: [{lines}] in {path}.yaml",
    )


def _in_order(path: str, tree: Tree) -> list[Any]:
    """A defaults list with its overrides moved to the end."""
    return sorted(tree.defaults(path), key=lambda d: isinstance(d, GroupDefault) and bool(d.override))


def _in_yaml(default: Any) -> str:
    if default.is_self():
        return "_self_"
    if not isinstance(default, GroupDefault):
        return str(default.path)
    words = [word for word in ("optional", "override") if getattr(default, word)]
    place = f"@{default.package}" if default.package else ""
    value = "null" if default.value is None else default.value
    value = f"[{', '.join(value)}]" if isinstance(value, list) else value
    return f"{' '.join([*words, str(default.group)])}{place}: {value}"
