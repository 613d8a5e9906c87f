"""Overrides of the key `remote`, which Hydra cannot set: see pipeline/config/remotes.py.

Hydra cannot set `remote.write` where a YAML has `remote: s3://…`, nor a text where a YAML has a mapping. So these
overrides are taken out before Hydra composes, and applied here to the composed configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from pipeline.config import again
from pipeline.config.remotes import KEY, SETTINGS
from pipeline.errors import ConfigError
from pipeline.remote.address import ALLOWED, refuse_secrets


def typed(overrides: Sequence[str]) -> list[str]:
    """The overrides of `remote`, except a sweep over several. Raises ConfigError for a URL with a secret in it."""
    words = [o for o in overrides if o.lstrip("+").partition("=")[0].partition(".")[0] == KEY and "=" in o]
    for word in words:
        refuse_secrets(word.partition("=")[2])
    return [o for o in words if not _parsed(o).is_sweep_override()]


def settle(cfg: DictConfig, words: Sequence[str]) -> None:
    """Makes the remote of a composed configuration a mapping, and applies its overrides.

    Args:
        cfg: A whole configuration, which is changed.
        words: The overrides of `remote`, in order.

    Raises ConfigError for what is no setting of a remote.
    """
    composed = OmegaConf.to_container(OmegaConf.masked_copy(cfg, [KEY]), resolve=False)
    assert isinstance(composed, dict)
    settings = _mapping(composed.get(KEY))
    for word in words:
        override = _parsed(word)
        _, _, name = str(override.key_or_group).partition(".")
        settings |= {name: override.value()} if name else _partial(override.value())
    _refuse_unknown(settings, words)
    with read_write(cfg), open_dict(cfg):
        cfg[KEY] = settings
        if words:
            cfg.hydra.overrides.task = [*cfg.hydra.overrides.task, *words]


def _parsed(word: str) -> Override:
    return OverridesParser.create().parse_override(word)


def _mapping(value: Any) -> dict[str, Any]:
    """All settings of a remote, from a text, a mapping or None."""
    return {**SETTINGS, **_partial(value)}


def _partial(value: Any) -> dict[str, Any]:
    return {str(k): v for k, v in value.items()} if isinstance(value, Mapping) else {"url": value}


def _refuse_unknown(settings: Mapping[str, Any], words: Sequence[str]) -> None:
    """Raises ConfigError for settings that a remote does not have, and for values of other types."""
    if unknown := sorted(settings.keys() - SETTINGS.keys()):
        raise ConfigError(f"remote has no {unknown[0]}", allowed="remote.url, remote.write", command="remote=URL")
    url, write = settings["url"], settings["write"]
    if url is not None and not isinstance(url, str):
        raise ConfigError(f"remote is {url!r}", allowed=ALLOWED)
    if not isinstance(write, bool) and not str(write).startswith("${"):
        typed = next((w for w in words if "write" in w), "")
        command = again.with_change(words, {typed: ["remote.write=false"]}) if typed else "remote.write=false"
        raise ConfigError(f"remote.write is {write!r}", allowed="true, false", command=command)
    refuse_secrets(url or "")
