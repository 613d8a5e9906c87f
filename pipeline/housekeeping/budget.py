"""`keep=50GiB`: after a run, what was least recently used goes until this user's results take no more than that."""

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
SECONDS = 20.0  # that a run may take for it; the next one goes on


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
    """Keeps a store within a budget after the block, however that ends but by an interruption."""
    try:
        yield
    except Exception:
        if limit is not None:
            enforce(store, limit)
        raise
    if limit is not None:
        enforce(store, limit)


def enforce(store: Store, budget: int) -> None:
    """Removes what is above a budget, in bounded time. Where it cannot, it says so, and no run fails for it."""
    try:
        guard = eviction.lock(store)
        if not guard.try_acquire():
            return  # another run is at it
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
