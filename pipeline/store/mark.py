"""A store's mark: the format of the store. A mark of another format, or an unreadable one, is never overwritten."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from pipeline import disk
from pipeline.errors import ConfigError

FILE = "format.json"
FORMAT = {"format": 1, "digest": "sha256"}


def read(root: Path) -> Any | None:
    """The format that a store's mark names; None where there is no store. Raises ConfigError for an unreadable mark."""
    marker = root / FILE
    try:
        if what := disk.special(marker):  # reading it may never end
            raise ValueError(f"it is {what}")
        found = json.loads(marker.read_bytes())
        return "null" if found is None else found
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        raise ConfigError(
            f"store={root}: {FILE} cannot be read: {e.strerror}",
            allowed="a store that this user can read",
            command="store=/another/folder, or set DRYDOCK_STORE",
        ) from e
    except (ValueError, RecursionError) as e:
        raise ConfigError(
            f"store={root}: {FILE} is torn, and so nobody knows what wrote this store",
            allowed=f"{json.dumps(FORMAT)}, where it was this version",
            command=f"store=/another/folder, or echo '{json.dumps(FORMAT)}' > {shlex.quote(str(marker))}",
        ) from e


def demand(root: Path, found: Any | None) -> None:
    """Raises ConfigError for a folder that is no store, or a store of another format; `found` comes from `read`."""
    if found is None:
        raise ConfigError(
            f"store={root} is no store: there is no {FILE} in it",
            allowed="below the first, folders that are stores already",
            command=f"ls {shlex.quote(str(root))}; the first of several is the one that is made and written to",
        )
    if found != FORMAT:
        raise ConfigError(
            f"store={root} was written in format {found}", allowed=f"format {FORMAT}", command="store=/another/folder"
        )
