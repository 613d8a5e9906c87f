"""A run that was refused before any work leaves no folder: its message was on the screen."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from pipeline.runs.folders import RUN

HYDRA, LOG = ".hydra", "pipeline.log"  # as Hydra and conf/hydra/job_logging call them


def named(typed: Sequence[str]) -> list[Path]:
    """The run folders that a command line names and that exist already: they belong to somebody.

    So may one that cannot be looked at.
    """
    folders = [Path(word.partition("=")[2]).absolute() for word in typed if word.startswith("hydra.run.dir=")]
    return [folder for folder in folders if _may_be_there(folder)]


def _may_be_there(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except OSError:
        return True


def is_fresh(folder: Path) -> bool:
    """Whether the folder of a run that begins has only the files that Hydra has just written."""
    return _names(folder) <= {HYDRA}


def remove(folder: Path) -> None:
    """Removes the folder of a refused run, which was fresh, and its empty parents below the current folder.

    A folder that has got other files meanwhile stays.
    """
    if not _names(folder) <= {HYDRA, LOG, RUN}:
        return
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
        for above in folder.parents:
            if above == Path.cwd() or not above.is_relative_to(Path.cwd()):
                break
            above.rmdir()


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208 (names alone)
    except OSError:
        return set()
