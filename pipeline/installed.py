"""What our own distribution says of itself: its version, and which extra brings a library."""

from __future__ import annotations

import re
from importlib import metadata

DISTRIBUTION = "drydock"


def own_version() -> str:
    """The installed version of Drydock; "not installed" when it runs from a bare checkout."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "not installed"


def how_to_install(module: str) -> str:
    """The command that brings a library in: the extra of ours that requires it, if one does."""
    for requirement in _requirements():
        name, extra = re.match(r"[\w.-]+", requirement), re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
        if name and extra and name[0].replace("-", "_") == module and extra[1] not in ("all", "dev"):
            return f"pip install '{DISTRIBUTION}[{extra[1]}]'"
    return f"pip install {module}"


def _requirements() -> list[str]:
    try:
        return metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
