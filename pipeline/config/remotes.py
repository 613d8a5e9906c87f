"""The key `remote`: a URL, or `url` and `write`, from a YAML, the command line or $DRYDOCK_REMOTE."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import BackendMissing
from pipeline.remote.address import MODULES, Address
from pipeline.store import Trust

if TYPE_CHECKING:
    from pipeline.remote.remote import Remote

KEY = "remote"
SETTINGS = {"url": None, "write": True}
VARIABLE = "DRYDOCK_REMOTE"


def address_of(config: Mapping[str, Any], here: Path | None = None) -> Address | None:
    """The address of a configuration's remote; None where it has none. Raises ConfigError."""
    if url := config[KEY]["url"]:
        return _address(str(url), KEY, here)
    if url := os.environ.get(VARIABLE):
        return _address(url, VARIABLE, here)
    return None


def of(config: Mapping[str, Any], root: Path, trust: Trust, here: Path | None = None) -> Remote | None:
    """The remote of a configuration; None where there is none.

    Args:
        config: The configuration.
        root: The folder of the local store.
        trust: Whose entries are used.
        here: The base of a relative folder; None for the current folder.

    Raises ConfigError, BackendMissing.
    """
    address = address_of(config, here)
    if address is None:
        return None
    from pipeline.remote.remote import Remote  # imported here, so that only runs with a remote pay for it

    return Remote.of(address, root, trust.keys, write=config[KEY]["write"])


def modules(address: Address | None) -> Sequence[str]:
    """The modules that a remote needs beside the core."""
    return () if address is None else MODULES


def serves(config: Mapping[str, Any], root: Path, trust: Trust) -> str:
    """In a few words, whether the remote of a configuration answers, and what this user may do there; see `of`."""
    try:
        remote = of(config, root, trust)
    except BackendMissing:
        return "the libraries that it needs are not installed"
    return remote.serves() if remote is not None else ""


def _address(text: str, place: str, here: Path | None) -> Address:
    if "://" not in text:
        text = str((here or Path.cwd()) / Path(text).expanduser())
    return Address.parse(text, place)
