"""One fault at one file operation of one job, and the next job without any: `struck/cold/kill-before/17`."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.chaos import forked, invariants, scenes
from benchmarks.chaos.faults import ERRORS, KILLS, Fault, Injector
from benchmarks.chaos.scenes import SCENES, expected
from benchmarks.chaos.toy import Job, stages

PLACES = ("store", "out", "other", "run-out", "run-other")
KILLS_WANTED, ERRORS_WANTED = 5200, 5200  # at least 5,000 of each are to have struck


def names(share: float, rng: random.Random) -> list[str]:
    """The trials: every kill at every operation, again until there are enough, and a sample of the errors."""
    counts = {scene: scenes.operations(scene) for scene in SCENES}
    kills = [f"struck/{s}/{how}/{at}" for s, n in counts.items() for how in KILLS for at in range(1, n + 1)]
    errors = [f"struck/{s}/{how}/{at}" for s, n in counts.items() for how in ERRORS for at in range(1, n + 1)]
    return [*_some(kills, share * KILLS_WANTED, rng), *_some(errors, share * ERRORS_WANTED, rng)]


def _some(all_of: list[str], share: float, rng: random.Random) -> list[str]:
    return rng.sample(all_of, min(len(all_of), round(share)))


def attempt(name: str, home: Path) -> tuple[bool, list[str]]:
    """Whether the fault struck, and what is wrong."""
    _, scene, how, at = name.split("/")
    fault = Fault(how, int(at))
    damaged = SCENES[scene].set(home)
    before, store, job = _entries(home), home / "store", Job(home)
    first = forked.run(partial(struck, job, fault, home))
    outcome = None if first.result is None else first.result["job"]
    wrong = list(_of_the_struck(first, outcome, fault, home))
    allowed = [None, expected("after"), *(expected(t) for o, t in SCENES[scene].jobs.items() if o == "out")]
    wrong += invariants.output_is(job.delivered, [expected("after")] if outcome and outcome["code"] == 0 else allowed)
    wrong += invariants.nothing_lost(store, before, damaged)
    between = _entries(home)
    wrong += next_is_right(job, between, damaged)
    wrong += [w for o, t in SCENES[scene].jobs.items() if o != "out" for w in next_is_right(Job(home, t, o), between)]
    wrong += invariants.litter(home, PLACES, quarantine=bool(damaged) or fault.harms)
    return first.killed or bool(first.result and first.result["struck"]), wrong + forked.leftovers()


def struck(job: Job, fault: Fault, root: Path) -> dict[str, Any]:
    """Runs a job with a fault below a folder; what came of it, and whether it struck."""
    injector = Injector(root, fault)
    injector.arm()
    return {"job": job.run(), "struck": injector.count >= fault.at}


def _of_the_struck(ended: forked.Ended, outcome: Any, fault: Fault, home: Path) -> Iterator[str]:
    if ended.status is None:
        yield "it hung"
    elif not ended.killed:
        yield from invariants.in_words(outcome, home, stages(""))


def next_is_right(
    job: Job,
    entries: Mapping[str, str],
    damaged: Collection[str] = (),
    become: Callable[[], None] = lambda: None,
) -> list[str]:
    """That a job without faults ends well, builds nothing again and delivers the right bytes.

    Args:
        job: The job.
        entries: The entries that are there.
        damaged: The content that has to be built again.
        become: What its process does first.
    """
    again = forked.run(lambda: (become(), job.run())[1])
    if again.status is None or not again.result or again.result["code"] != 0:
        return [f"the next run: {again.result and again.result['told'][-600:]}, status {again.status}"]
    wrong = invariants.output_is(job.delivered, [expected(job.text)])
    return [f"after the next run: {w}" for w in (*wrong, *invariants.not_again(entries, again.result, damaged))]


def _entries(home: Path) -> dict[str, str]:
    try:
        return invariants.entries(home / "store")
    except ValueError:  # told as torn, by nothing_lost
        return {}
