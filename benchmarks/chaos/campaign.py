"""The trials of a campaign, in as many processes as there are cores, and what came of each."""

from __future__ import annotations

import gc
import logging
import math
import multiprocessing
import os
import random
import shutil
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType

from benchmarks.chaos import command, forked, racing, rot, scenes, struck, users
from benchmarks.chaos.toy import Job
from pipeline.record import lineage
from pipeline.runs import manifest

PARTS: Mapping[str, ModuleType] = {
    "struck": struck, "rot": rot, "racing": racing, "users": users, "command": command,
}  # fmt: skip
WHOLE = dict.fromkeys(PARTS, 1.0)
QUICK = {"struck": 0.04, "rot": 0.25, "racing": 0.04, "users": 0.04, "command": 0.02}


@dataclass(frozen=True)
class Verdict:
    """What came of one trial.

    Args:
        name: Its name.
        struck: Whether what was to go wrong did.
        wrong: What does not hold, in words.
    """

    name: str
    struck: bool
    wrong: Sequence[str]


def prepare() -> None:
    """Has everything imported and read once that a job needs, so that a fork has it."""
    logging.raiseExceptions = False
    forked.adopt()
    version, installed = lineage.own_version(), manifest.distributions()
    lineage.own_version = manifest.own_version = lambda: version  # read anew, they are half the time of a job
    manifest.distributions = lambda: installed
    with scenes.folder() as home:
        outcome = Job(home).run()
    assert outcome["code"] == 0, outcome["told"]
    logging.getLogger().handlers = [logging.NullHandler()]
    gc.collect()
    gc.freeze()  # or each fork would copy the pages of all libraries
    for scene in scenes.SCENES.values():
        if scene.jobs:
            scenes.finished(*scene.jobs.items())
    for text in ("before", "after"):
        scenes.expected(text)


def names(shares: Mapping[str, float], seed: int, begins: str = "") -> list[str]:
    """The trials of a campaign; where only some are wanted, those, whether or not the sample has them."""
    if begins.split("/")[0] in PARTS and begins.count("/") >= 2 and _is_whole(begins):
        return [begins]
    chosen = [n for part, share in shares.items() for n in PARTS[part].names(share, random.Random(f"{part} {seed}"))]
    random.Random(seed).shuffle(chosen)  # should it be stopped, what was tried is a sample
    return [n for n in chosen if n.startswith(begins)]


def _is_whole(name: str) -> bool:
    """Whether a name is one trial's, which ends with a number or a damage."""
    last = name.rpartition("/")[2]
    return last.isdigit() or last in rot.DAMAGES


def run(
    names: Sequence[str],
    done: Callable[[Verdict], None],
    *,
    minutes: float = math.inf,
    keep: bool = False,
    processes: int | None = None,
) -> None:
    """Runs trials, and prints what they find as they find it.

    Args:
        names: Which.
        done: Is called with the verdict of each.
        minutes: After which no more are begun.
        keep: Whether the folders of those that find something stay.
        processes: How many at once; None for one on each core.
    """
    todo = partial(attempt, until=time.monotonic() + 60 * minutes, keep=keep)
    if processes == 1 or len(names) == 1:
        return _each(map(todo, names), done)
    with multiprocessing.get_context("fork").Pool(processes or len(os.sched_getaffinity(0)), forked.adopt) as pool:
        return _each(pool.imap_unordered(todo, names, chunksize=4), done)


def _each(verdicts: Iterable[Verdict | None], done: Callable[[Verdict], None]) -> None:
    for verdict in filter(None, verdicts):
        done(verdict)
        for wrong in verdict.wrong:
            print(f"{verdict.name}: {wrong}", flush=True)


def attempt(name: str, *, until: float = math.inf, keep: bool = False) -> Verdict | None:
    """Runs one trial in a folder of its own, unless it is too late."""
    if time.monotonic() > until:
        return None
    part = PARTS[name.partition("/")[0]]
    with scenes.folder() as home:
        try:
            was_struck, wrong = part.attempt(name, home)
        except Exception:
            was_struck, wrong = False, [f"the trial itself failed: {traceback.format_exc()}", *forked.leftovers()]
        if wrong and keep:
            copy = shutil.copytree(home, home.with_name(f"kept-{home.name}"), symlinks=True)
            wrong = [*wrong, f"kept in {copy}"]
    return Verdict(name, was_struck, [w.replace(str(home), "HOME") for w in wrong])
