"""Two users of one store, one of them struck: `users/022/077/kill-before/17`.

They are played by processes that give up root's rights.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.chaos import forked, invariants, scenes
from benchmarks.chaos.faults import ERRORS, KILLS, Fault
from benchmarks.chaos.scenes import expected
from benchmarks.chaos.struck import next_is_right, struck
from benchmarks.chaos.toy import Job, stages

ANA, BOB, TEAM = 64011, 64012, 64013  # of nobody
UMASKS = ("022", "077", "002")
ROUNDS = 40  # of each pair of umasks


def skipped() -> str:
    """Why there are no such trials; empty where there are."""
    return "" if os.geteuid() == 0 else "only root can play two users"


def names(share: float, rng: random.Random) -> list[str]:
    if skipped():
        return []
    last = scenes.operations("cold")
    pairs = [(a, b) for a in UMASKS for b in UMASKS]
    return [
        f"users/{a}/{b}/{rng.choice(rng.choice((KILLS, ERRORS)))}/{rng.randint(1, last)}"
        for a, b in pairs
        for _ in range(round(share * ROUNDS) or 1)
    ]


def attempt(name: str, home: Path) -> tuple[bool, list[str]]:
    """Whether the fault struck, and what is wrong."""
    _, anas, bobs, how, at = name.split("/")
    _furnish(home)
    store = home / "store"
    ana = Job(home / "ana", store=str(store))
    bob = Job(home / "bob", store=str(store), trust=(f"user:{ANA}",))
    fault = Fault(how, int(at))
    first = forked.run(partial(_as, ANA, anas, partial(struck, ana, fault, home)))
    wrong = [] if first.killed else invariants.in_words(first.result and first.result["job"], home, stages(""))
    entries = invariants.entries(store)
    # What ana could give no mode to, bob may be unable to read, and builds.
    wrong += next_is_right(bob, {} if fault.has_no_modes else entries, become=partial(_become, BOB, bobs))
    wrong += invariants.nothing_lost(store, entries)
    wrong += next_is_right(ana, entries, become=partial(_become, ANA, anas))
    wrong += invariants.litter(home, ("store", "ana", "bob"), quarantine=fault.harms)
    wrong += [w for j in (ana, bob) for w in invariants.output_is(j.delivered, [expected("after")])]
    return first.killed or bool(first.result and first.result["struck"]), wrong + forked.leftovers()


def _furnish(home: Path) -> None:
    """A store's folder of the team's, and a folder for each user."""
    home.chmod(0o755)
    for name, uid, gid, mode in (("store", 0, TEAM, 0o2775), ("ana", ANA, ANA, 0o755), ("bob", BOB, BOB, 0o755)):
        (home / name).mkdir()
        os.chown(home / name, uid, gid)
        (home / name).chmod(mode)


def _become(uid: int, umask: str) -> None:
    os.setgroups([TEAM])
    os.setgid(uid)
    os.setuid(uid)
    os.umask(int(umask, 8))


def _as(uid: int, umask: str, act: Callable[[], Any]) -> Any:
    _become(uid, umask)
    return act()
