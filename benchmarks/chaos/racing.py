"""Several jobs at once, on one store and often on one output, some of them killed: `racing/one-output/3`."""

from __future__ import annotations

import random
from pathlib import Path

from benchmarks.chaos import forked, invariants, scenes
from benchmarks.chaos.faults import KILLS, Fault, Injector
from benchmarks.chaos.scenes import expected
from benchmarks.chaos.struck import next_is_right
from benchmarks.chaos.toy import Job, stages

ROUNDS = 80  # of each way
WAYS = ("own-outputs", "one-output", "two-texts")
PROCESSES = 6


def names(share: float, rng: random.Random) -> list[str]:
    return [f"racing/{way}/{n}" for way in WAYS for n in range(round(share * ROUNDS) or 1)]


def attempt(name: str, home: Path) -> tuple[bool, list[str]]:
    """Whether somebody was killed, and what is wrong."""
    _, way, _ = name.split("/")
    rng = random.Random(name)
    jobs = [_job(home, way, n) for n in range(PROCESSES)]
    last = scenes.operations("cold")
    doomed = [Fault(rng.choice(KILLS), rng.randint(1, last)) if rng.random() < 0.4 else Fault() for _ in jobs]
    racers = [forked.Fork(lambda j=j, f=f: _run(j, f)) for j, f in zip(jobs, doomed, strict=True)]  # type: ignore[misc]
    ended = [r.end() for r in racers]
    wrong = []
    for job, fault, end in zip(jobs, doomed, ended, strict=True):
        if end.status is None:
            wrong.append("it hung")
        elif not end.killed:
            wrong += invariants.in_words(end.result, home, stages(""))
            if not fault.how and end.result and end.result["code"] != 0:
                wrong.append(f"a run that nobody struck failed: {end.result['told']}")
        wrong += invariants.output_is(job.delivered, [None, expected("after"), expected("before")])
    wrong += invariants.nothing_lost(home / "store", {})
    entries = invariants.entries(home / "store")
    wrong += [w for job in jobs for w in next_is_right(job, entries)]
    places = {"store", *(j.output for j in jobs), *(f"run-{j.output}" for j in jobs)}
    wrong += invariants.litter(home, places)
    return any(e.killed for e in ended), wrong + forked.leftovers()


def _job(home: Path, way: str, n: int) -> Job:
    output = f"out{n}" if way == "own-outputs" else "out"
    return Job(home, "before" if way == "two-texts" and n % 2 else "after", output)


def _run(job: Job, fault: Fault) -> dict[str, object]:
    Injector(job.home, fault).arm()
    return job.run()
