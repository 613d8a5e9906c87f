"""Removes results: which ones, in which order, and how. Never one that is pinned, in use, or another user's.

    alone with the result ──► its manifest ──► one rename into a build folder ──► its files
         └── a run uses it: it stays

At any moment a result is whole, or it is not there: a process that dies after the rename leaves a build folder, which
the next run removes. A budget removes results and leaves their entries, a few kilobytes: with them, the results that
were built from a removed one stay hits.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.housekeeping import contents
from pipeline.housekeeping.contents import Contents, Listed, Result
from pipeline.store import Store, use
from pipeline.store.locks import Lock
from pipeline.store.store import FACTS

log = logging.getLogger(__name__)

LOCK = "housekeeping"  # in the folder of keys' locks; no key has this name
AT_ONCE = 64  # results that lie in one build folder until they are deleted


@dataclass
class Removed:
    """How a removal ended.

    Args:
        results: The results that were removed.
        freed: The bytes that this freed on the disk.
        entries: How many entries were removed.
        in_use: Results that stay because a run uses them.
        gone: Results that somebody else removed first.
        denied: Results that this user may not remove, with the reason.
        out_of_time: Whether the limit of time ended it.
    """

    results: list[Result] = field(default_factory=list)
    freed: int = 0
    entries: int = 0
    in_use: list[Result] = field(default_factory=list)
    gone: list[Result] = field(default_factory=list)
    denied: list[tuple[Result, str]] = field(default_factory=list)
    out_of_time: bool = False


def lock(store: Store) -> Lock:
    """The lock of the store for removing, moving and pinning: one process at a time."""
    return store.lock(LOCK, "the store's housekeeping")


def removable(results: Sequence[Result], pinned: Collection[str]) -> list[Result]:
    """This user's own results that are not pinned: the least recently used first, and of equal age the largest."""
    mine = (r for r in results if r.owner == os.geteuid() and r.digest not in pinned)
    return sorted(mine, key=lambda r: (r.used, -r.size))


def over(known: Contents, budget: int, candidates: Sequence[Result]) -> list[Result]:
    """Which results to remove so that this user's take no more than a budget.

    Args:
        known: The content of the store.
        budget: Bytes.
        candidates: The results that may be removed, in order.
    """
    left = known.size([r for r in known.results if r.owner == os.geteuid()])
    chosen: list[Result] = []
    frees = _Freeing(known)
    for result in candidates:
        if left <= budget:
            break
        chosen.append(result)
        left -= frees.without(result)
    return chosen


def freed(known: Contents, chosen: Sequence[Result]) -> int:
    """The bytes that removing results would free on the disk."""
    frees = _Freeing(known)
    return sum(frees.without(result) for result in chosen)


class _Freeing:
    """The bytes that each of several results frees, in turn. A shared file counts with the last result that has it."""

    def __init__(self, known: Contents) -> None:
        self._known = known
        self._gone: Counter[int] = Counter()

    def without(self, result: Result) -> int:
        total = 0
        for at in _files(self._known.folder(result)):
            self._gone[at.st_ino] += 1
            total += at.st_size if self._gone[at.st_ino] >= at.st_nlink else 0
        return total


def _files(folder: Path) -> Iterator[os.stat_result]:
    return (at for _, at in contents.below(folder))


def remove(
    store: Store,
    known: Contents,
    chosen: Sequence[Result],
    *,
    entries: Sequence[Listed] = (),
    budget: int | None = None,
    seconds: float | None = None,
) -> Removed:
    """Removes results, in their order. The caller has the lock.

    Args:
        store: The store.
        known: The content of the store. It may be out of date: each result is looked at again before it is removed.
        chosen: The results.
        entries: Entries that are removed too, once their result is gone.
        budget: Bytes that this user's results may take: removing stops there; None removes all that were chosen.
        seconds: The limit of time, after which no further result is removed.

    Raises ConfigError where the store cannot be written.
    """
    done = Removed()
    until = None if seconds is None else time.monotonic() + seconds
    left = None if budget is None else known.size([r for r in known.results if r.owner == os.geteuid()])
    waiting = list(chosen)
    sharing: dict[int, list[str]] = defaultdict(list)
    for result in known.results:
        for _, inode in result.linked:
            sharing[inode].append(result.digest)
    while waiting and not done.out_of_time and (left is None or budget is None or left > budget):
        batch = waiting[:AT_ONCE]
        shared = {digest for result in batch for _, inode in result.linked for digest in sharing[inode]}
        with store.staging(shared) as aside, store.explained():
            for result in batch:
                done.out_of_time = until is not None and time.monotonic() > until
                if done.out_of_time or (left is not None and budget is not None and left <= budget):
                    break
                before = done.freed
                _remove(store, known, result, aside, done)
                left = None if left is None else left - (done.freed - before)
        del waiting[:AT_ONCE]
    if not done.out_of_time:
        _remove_entries(store, known, entries, done)
    return done


def _remove(store: Store, known: Contents, result: Result, aside: Path, done: Removed) -> None:
    """Moves one result into a build folder, unless somebody uses it."""
    folder = known.folder(result)
    try:
        at = folder.lstat()
        if at.st_uid != os.geteuid() or folder.is_symlink():
            raise PermissionError(0, "it is another user's")
        with _alone(folder):
            files = list(_files(folder))
            store.objects.withdraw(folder, aside / result.name)
    except FileNotFoundError:
        done.gone.append(result)
    except use.InUse:
        done.in_use.append(result)
    except PermissionError as e:
        done.denied.append((result, e.strerror or str(e)))
    else:
        done.results.append(result)
        done.freed += sum(file.st_size for file in files if file.st_nlink == 1 or _last(aside, file))


def _last(aside: Path, file: os.stat_result) -> bool:
    """Whether all hard links of a file are in a build folder by now."""
    return sum(at.st_ino == file.st_ino for at in _files(aside)) >= file.st_nlink


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Locks a result exclusively. One without its facts' file is damaged, and nobody uses it."""
    if (folder / FACTS).is_file():
        with use.alone(folder / FACTS):
            yield
    else:
        yield


def _remove_entries(store: Store, known: Contents, entries: Sequence[Listed], done: Removed) -> None:
    """Removes this user's entries whose result is gone, and the notes on their keys."""
    for entry in entries:
        plain = store.root / "objects" / entry.digest[:2] / entry.digest
        if entry.owner != os.geteuid() or (entry.digest and plain.is_dir()):
            continue
        path = store.root / "actions" / entry.stage / entry.name
        with contextlib.suppress(OSError):
            if path.lstat().st_uid != os.geteuid():
                continue
            path.unlink()
            done.entries += 1
            if entry.digest:
                (store.root / use.PLACE / entry.digest).unlink(missing_ok=True)
        key = entry.name.partition(".")[0]
        of_key = store.root / "locks" / f"{key}.lock"
        if of_key.exists():
            guard = store.lock(key, key)
            if guard.try_acquire():
                guard.remove()


def refuse_without_locks(store: Store) -> None:
    """Raises ConfigError where the file system has no locks: there is then no way to see what runs use."""
    with store.staging() as folder, store.explained():
        (folder / FACTS).write_text("{}")
        with contextlib.suppress(use.InUse), use.alone(folder / FACTS):
            return
    raise ConfigError(
        f"store={store.root}: its file system has no locks, so it is not known which results runs use",
        allowed="a file system with flock, as local disks have",
        command="end all runs, and remove the whole folder",
    )
