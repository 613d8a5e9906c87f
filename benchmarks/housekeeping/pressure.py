"""Runs, readers and a budget of half of what they use, for minutes: no run fails, and nothing in use disappears.

Processes are killed all the while: runs, readers, and whoever evicts, in the midst of it.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from benchmarks.chaos import invariants
from benchmarks.chaos.toy import Job
from pipeline import units
from pipeline.housekeeping import budget, contents, eviction
from pipeline.housekeeping.index import Index
from pipeline.store import State, Store
from pipeline.store.files import records, tree_digest

TEXTS = 24  # jobs that are run again and again, each with results of its own
WORD = 40  # letters of each text; its weights are a thousand times as large
AT_ONCE = {"run": 3, "reader": 2, "evictor": 1}
KILLED = {"run": 0.15, "reader": 0.15, "evictor": 0.5}  # which share
READS_SECONDS = 0.3
PATIENCE_SECONDS = 60.0


@dataclass
class Worker:
    """A process at work.

    Args:
        kind: What it does.
        process: The process.
        hears: Where it says what came of it.
        until: When it is killed, by time.monotonic(); None for one that may end.
        began: When it began.
    """

    kind: str
    process: Any
    hears: Connection
    until: float | None
    began: float


def is_right(home: Path, minutes: float, seed: int) -> bool:
    """Does all of it, prints what came of it, and says whether it is as it must be."""
    working_set = _working_set(home)
    limit = working_set // 2
    print(f"the working set takes {units.size(working_set)}, the budget is {units.size(limit)}", flush=True)
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    _press(home, limit, random.Random(seed), time.monotonic() + 60 * minutes, counts, wrong)
    wrong += _after(home, limit)
    for name, count in sorted(counts.items()):
        print(f"{name:<40} {count:>8}")
    print(f"{'wrong':<40} {len(wrong):>8}")
    for text in list(dict.fromkeys(wrong))[:20]:
        print(f"  {text}")
    return not wrong and counts["results evicted"] > 0


def _working_set(home: Path) -> int:
    """The bytes that all jobs' results take together."""
    for n in range(TEXTS):
        outcome = Job(home, _text(n), "first").run()
        assert outcome["code"] == 0, outcome
    store = home / "store"
    known = contents.read(store, Index(store))
    return known.size(known.results)


def _text(n: int) -> str:
    return f"text {n} ".ljust(WORD, chr(ord("a") + n % 26))


def _press(home: Path, limit: int, rng: random.Random, until: float, counts: Counter[str], wrong: list[str]) -> None:
    acts: dict[str, Callable[[Path, int, int], dict[str, Any]]] = {"run": _run, "reader": _read, "evictor": _evict}
    workers: list[Worker] = []
    context = multiprocessing.get_context("fork")
    slots = Counter(AT_ONCE)
    while workers or time.monotonic() < until:
        for kind in slots if time.monotonic() < until else ():
            while slots[kind] > 0:
                slots[kind] -= 1
                hears, tells = context.Pipe(duplex=False)
                seed = rng.randrange(2**32)
                process = context.Process(target=_work, args=(acts[kind], home, limit, seed, tells), daemon=True)
                process.start()
                tells.close()
                doomed = rng.random() < KILLED[kind]
                now = time.monotonic()
                workers.append(Worker(kind, process, hears, now + rng.uniform(0, 0.15) if doomed else None, now))
        wait([w.process.sentinel for w in workers], timeout=0.005)
        for worker in list(workers):
            if worker.process.is_alive():
                now = time.monotonic()
                if worker.until is not None and now > worker.until:
                    worker.process.kill()
                elif now - worker.began > PATIENCE_SECONDS:
                    worker.process.kill()
                    wrong.append(f"a {worker.kind} hung")
                continue
            workers.remove(worker)
            slots[worker.kind] += 1
            _ended(worker, counts, wrong)


def _ended(worker: Worker, counts: Counter[str], wrong: list[str]) -> None:
    worker.process.join()
    outcome: dict[str, Any] = {}
    with contextlib.suppress(EOFError):
        if worker.hears.poll():
            outcome = worker.hears.recv()
    worker.hears.close()
    if not outcome:
        counts[f"{worker.kind}s killed"] += 1
        if worker.until is None:
            wrong.append(f"a {worker.kind} died by itself with {worker.process.exitcode}")
        return
    counts[f"{worker.kind}s"] += 1
    counts.update(outcome.get("counts", {}))
    wrong += outcome.get("wrong", [])


def _work(
    act: Callable[[Path, int, int], dict[str, Any]], home: Path, limit: int, seed: int, tells: Connection
) -> None:
    try:
        tells.send(act(home, limit, seed))
    except BaseException as e:
        tells.send({"wrong": [f"{act.__name__.strip('_')}: {type(e).__name__}: {e}"]})
    os._exit(0)


def _run(home: Path, limit: int, seed: int) -> dict[str, Any]:
    """One run as the command line has it, with the budget after it; every byte that it delivers is looked at."""
    rng = random.Random(seed)
    n = rng.randrange(TEXTS)
    job = Job(home, _text(n), f"out-{os.getpid()}")
    outcome = job.run()
    wrong = [] if outcome["code"] == 0 else [f"a run failed: {outcome['told'][:300]}"]
    if "damaged" in outcome["told"]:
        wrong.append(f"a run found damage: {outcome['told'][:300]}")
    files = invariants.delivered(job.delivered) or {}
    if outcome["code"] == 0 and not _is_of(files, n):
        wrong.append("a run delivered other bytes than its model says")
    budget.enforce(Store(home / "store"), limit)
    how = Counter(f"stages {kind}" for kind, _ in outcome["how"].values())
    return {"counts": how, "wrong": wrong}


def _is_of(files: invariants.Files, n: int) -> bool:
    weights = [content for name, content in files.items() if name.endswith("weights.bin")]
    return weights == [f"{_text(n)}!".encode() * 999]


def _read(home: Path, limit: int, seed: int) -> dict[str, Any]:
    """Uses a result, as a run does or as one that looks into this store, and reads it again and again."""
    rng = random.Random(seed)
    root = home / "store"
    mine = home / f"reader-{os.getpid()}"
    store = Store(mine, root) if rng.random() < 0.5 else Store(root)
    counts: Counter[str] = Counter()
    wrong = []
    digests = [d for d in invariants.entries(root).values() if (root / "objects" / d[:2] / d).is_dir()]
    with store.keeping():
        for digest in rng.sample(digests, min(3, len(digests))):
            if store.state(digest) is not State.PRESENT:
                counts["results gone before a reader had them"] += 1
                continue
            folder = store.objects.folder(digest)
            until = time.monotonic() + READS_SECONDS * rng.random()
            while time.monotonic() < until:
                try:
                    whole = tree_digest(records(folder, shared=None)) == digest
                except OSError as e:
                    whole = False
                    wrong.append(f"a result in use disappeared: {e}")
                    break
                if not whole:
                    wrong.append("a result in use was not whole")
                counts["reads of results in use"] += 1
    return {"counts": counts, "wrong": wrong}


def _evict(home: Path, limit: int, seed: int) -> dict[str, Any]:
    """Removes what is above the budget, and now and then nearly everything."""
    rng = random.Random(seed)
    store = Store(home / "store")
    guard = eviction.lock(store)
    if not guard.try_acquire():
        return {"counts": {"evictors that waited for another": 1}}
    try:
        known = contents.read(store.root, Index(store.root), entries=False)
        most = limit // 10 if rng.random() < 0.1 else limit
        done = eviction.remove(store, known, eviction.removable(known.results, ()), budget=most)
    finally:
        guard.release()
    counts = {"results evicted": len(done.results), "results left, since in use": len(done.in_use)}
    return {"counts": counts, "wrong": [f"could not be removed: {why}" for _, why in done.denied]}


def _after(home: Path, limit: int) -> list[str]:
    """What is wrong when all is quiet again."""
    store = Store(home / "store")
    with store.in_use():
        pass  # clears away what the killed left
    budget.enforce(store, limit)
    wrong = [
        f"left: {p.relative_to(home)}"
        for name in ("staging", "marks", "quarantine")
        for p in (store.root / name).glob("*")
    ]
    known = contents.read(store.root, Index(store.root))
    if (size := known.size(known.results)) > limit:
        wrong.append(f"the store takes {units.size(size)} with a budget of {units.size(limit)}")
    wrong += [
        f"{r.name[:12]} is not whole"
        for r in known.results
        if store.state(r.digest, thorough=True) is not State.PRESENT
    ]
    for n in range(TEXTS):
        outcome = Job(home, _text(n), "last").run()
        wrong += [] if outcome["code"] == 0 else [f"a run afterwards failed: {json.dumps(outcome)[:300]}"]
    return wrong
