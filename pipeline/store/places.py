"""Which folder is the store where neither `store=` nor a caller names one."""

from __future__ import annotations

import os
from pathlib import Path


def usual() -> list[Path]:
    """What $DRYDOCK_STORE names, with colons between folders; else drydock/ in the user's cache folder.

    The first one is written to, and the others are only read.
    """
    if named := list(filter(None, os.environ.get("DRYDOCK_STORE", "").split(":"))):
        return [Path(folder).expanduser().absolute() for folder in named]
    return [Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "drydock"]
