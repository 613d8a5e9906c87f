"""Checks the folder of a command of the store: whether it is a store, and whether it can be read."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.store import mark

COMMAND = "--store FOLDER, or set DRYDOCK_STORE"


def refuse_what_is_none(root: Path) -> None:
    """Raises ConfigError for a folder that is no store, or one of another format."""
    if (found := mark.read(root)) is None:
        raise ConfigError(
            f"store={root} is no store: there is no {mark.FILE} in it",
            allowed="a folder that runs keep finished stages in",
            command=COMMAND,
        )
    mark.demand(root, found)


def refuse_another_use(root: Path) -> None:
    """Raises ConfigError for a folder that is no store and cannot become one: of another format, or with files."""
    if mark.read(root) is not None:
        refuse_what_is_none(root)
        return
    with readable(root), contextlib.suppress(FileNotFoundError):
        if any(root.iterdir()):
            raise ConfigError(f"{root} is no store, and not empty", allowed="a store, or a new folder")


@contextlib.contextmanager
def readable(root: Path) -> Iterator[None]:
    """Turns every OSError in the block, which reads a store, into a ConfigError."""
    try:
        yield
    except OSError as e:
        where = f" at {e.filename}" if e.filename and str(e.filename) != str(root) else ""
        shown = shlex.quote(str(e.filename or root))
        raise ConfigError(
            f"store={root} cannot be read: {e.strerror or e}{where}",
            allowed="a store that this user can read",
            command=f"ls -ld {shown} shows what is there",
        ) from e
