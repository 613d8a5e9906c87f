"""Tries whether a store's file system has what the store needs, since its name says little.

`python -m pipeline.store.trial FILE` is the other process: it says whether it got the lock, and dies holding it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from pipeline import disk
from pipeline.errors import ConfigError
from pipeline.store.locks import Lock
from pipeline.store.store import Store

PATIENCE_SECONDS = 60.0


def trial(store: Store) -> list[str]:
    """Makes hard links and takes locks, in a private folder that is removed at the end.

    Returns what the file system lacks and the store can do without. Raises ConfigError for what it needs.
    """
    try:
        with store.staging() as folder, store.explained():
            return [*_links(folder), *_locks(store, folder / "trial.lock")]
    except (NotImplementedError, subprocess.SubprocessError) as e:
        raise _refused(store, f"does not lock files: {type(e).__name__}: {e}") from e


def _links(folder: Path) -> Iterator[str]:
    (folder / "file").write_text("")
    if not disk.link(folder / "file", folder / "link"):
        yield "no hard links: files that results share are copied"


def _locks(store: Store, path: Path) -> Iterator[str]:
    lock = _lock(path)
    try:
        if not lock.try_acquire():
            raise _refused(store, "does not give a lock that nobody holds")
        if not lock.is_locked:
            yield "no locks: runs side by side may do the same work twice, and what dead ones left stays"
            return
        if _another_gets(path):
            raise _refused(store, "gives a lock to two processes at once")
        lock.release()
        if not _another_gets(path):
            raise _refused(store, "does not give a lock that was released")
        if not lock.try_acquire():
            raise _refused(store, "keeps the lock of a process that has died")
    finally:
        lock.release()


def _refused(store: Store, what: str) -> ConfigError:
    return ConfigError(
        f"store={store.root}: its file system {what}",
        allowed="a file system with flock, as local disks have",
        command="store=/a/local/folder, or set DRYDOCK_STORE",
    )


def _lock(path: Path) -> Lock:
    return Lock(path, "a trial", nullcontext)


def _another_gets(path: Path) -> bool:
    """Whether another process, which dies without a release, gets the lock."""
    command = [sys.executable, "-m", __spec__.name, str(path)]
    probe = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True)
    return probe.stdout.split() == ["True"]


if __name__ == "__main__":
    print(_lock(Path(sys.argv[1])).try_acquire(), flush=True)
    os._exit(0)
