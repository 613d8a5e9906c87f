"""`keep=50GiB`: after a run, removes the least recently used results until this user's take no more than that."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline import units
from pipeline.errors import ConfigError, DrydockError
from pipeline.housekeeping import contents, eviction, pins
from pipeline.housekeeping.index import Index
from pipeline.store import Store

log = logging.getLogger(__name__)

VARIABLE = "DRYDOCK_KEEP"
ALLOWED = "null, or a size above 0, such as 512MiB or 50GiB"
SECONDS = 20.0  # of a run's time at most; the next run goes on


def of(config: Mapping[str, Any]) -> int | None:
    """The budget in bytes: `keep`, else $DRYDOCK_KEEP; None for no limit. Raises ConfigError."""
    for name, value in (("keep", config["keep"]), (VARIABLE, os.environ.get(VARIABLE) or None)):
        if value is not None:
            limit = units.parsed_size(str(value))
            if not limit:
                raise ConfigError(f"{name} is {value}", allowed=ALLOWED, command=f"{name}=50GiB")
            return limit
    return None


@contextlib.contextmanager
def after(store: Store, limit: int | None) -> Iterator[None]:
    """Brings a store below its budget after the block, also when the block failed, but not after an interruption."""
    try:
        yield
    except Exception:
        if limit is not None:
            enforce(store, limit)
        raise
    if limit is not None:
        enforce(store, limit)


def enforce(store: Store, budget: int) -> None:
    """Removes results until the budget is kept, in bounded time. Where it cannot, it says so; no run fails for it."""
    try:
        guard = eviction.lock(store)
        if not guard.try_acquire():
            return  # another run does it
        try:
            if guard.is_locked:
                _enforce(store, budget)
        finally:
            guard.release()
    except (DrydockError, OSError) as e:
        log.info("keep=%s: nothing was removed: %s", units.size_setting(budget), str(e).partition("\n")[0])


def _enforce(store: Store, budget: int) -> None:
    known = contents.read(store.root, Index(store.root), entries=False)
    chosen = eviction.removable(known.results, pins.digests(store.root))
    done = eviction.remove(store, known, chosen, budget=budget, seconds=SECONDS)
    if done.results:
        log.info(
            "keep=%s: %s results that were least recently used are removed, %s",
            units.size_setting(budget),
            len(done.results),
            units.size(done.freed),
        )
