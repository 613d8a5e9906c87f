"""Runs a graph: plan, take the first stage that must be built, build and publish it, plan again, deliver.

    plan ──► nothing left to build ──► deliver
      ▲  └─► lock the key ─► still missing? ─► run in a private folder ─► publish ─┐
      └────────────────────────────────────────────────────────────────────────────┘

Planning anew after each stage is cheap (a few small files) and makes early cut-off, other runs' work and repairs one
mechanism: whatever the store has by now is a hit.
"""

from __future__ import annotations

import functools
import gc
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline import formats
from pipeline.artifact import Artifact, Origin, carried
from pipeline.errors import DrydockError, StageError
from pipeline.notes import Notes
from pipeline.planning import plan
from pipeline.planning.graph import Node
from pipeline.planning.plan import Step, Todo
from pipeline.record import lineage
from pipeline.running import delivery, memory, scratch, watchdog
from pipeline.running.isolation import Isolation, meanwhile
from pipeline.running.meter import Meter
from pipeline.running.outcome import Listener, Outcome, Result
from pipeline.stage import World
from pipeline.store import Damaged, Entry, Lock, Store

log = logging.getLogger(__name__)


class Runner:
    """One run of one graph.

    Args:
        nodes: The checked graph, in order.
        store: Where results are looked up and published.
        world: The machine that the stages' identities depend on.
        output: The folder to deliver to.
        listener: Receives the progress.
        about: The record's entries besides the stages: model, target, precision, seed.
        isolation: Where isolable stages run; None for this process.
        cache: Objects in memory by key, for the next run of this process: results that are only in memory, and
            objects of stored results. A run drops what it cannot use at its start. None keeps nothing after a last use.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        store: Store,
        world: World,
        output: Path,
        listener: Listener,
        about: Mapping[str, Any] = MappingProxyType({}),
        isolation: Isolation | None = None,
        cache: dict[str, Artifact] | None = None,
    ) -> None:
        self._nodes = {n.name: n for n in plan.settle(nodes, world)}
        self._store = store
        self._world = world
        self._output = output
        self._listener = listener
        self._about = about
        self._isolation = isolation
        self._caches = cache is not None
        self._cache = {} if cache is None else cache
        self._records: list[Mapping[str, Any]] = []
        self._in_memory: dict[str, Artifact] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._steps: Mapping[str, Step] = {}
        self._lock: Lock | None = None
        self._repairs = 0
        self.failed: Step | None = None  # the stage that the run ended at
        self._damaged: set[str] = set()

    def run(self) -> Result:
        """Builds what is missing and delivers. Raises DrydockError; what was finished stays in the store."""
        with self._store.in_use(), watchdog.at_end(self._abandoned):
            return self._run_all()

    def _abandoned(self, error: StageError | None) -> None:
        self._store.abandon()

    def _run_all(self) -> Result:
        steps = self._plan(explain=True)
        self._drop(self._cache.keys() - {s.key for s in steps})
        self._listener.planned(steps)
        self._prepare(steps)
        try:
            while True:
                try:
                    step, steps = self._next()
                    if step is None:
                        delivered = self._deliver_all(steps)
                        break
                    self._build(step)
                except Damaged as e:  # set aside by now, so the next plan builds it again
                    self._forget(e.digest)
                    self._repaired()
        finally:
            self._hold(None)
            self._in_memory.clear()
        outcomes = [self._outcomes[n] for n in self._nodes]
        return Result(outcomes, delivered[0], self._records[0]) if delivered else Result(outcomes, None)

    def _drop(self, keys: Collection[str]) -> None:
        """Frees what an earlier run of this process left in memory."""
        for key in keys:
            del self._cache[key]
        if keys:
            gc.collect()
            if not self._cache:
                gc.freeze()  # libraries, for the most part: a quarter of a second of each collection to come

    def _prepare(self, steps: Sequence[Step]) -> None:
        """Warms up the worker process: it imports the isolated stages' libraries while the first stages run here."""
        apart = {s.name for s in steps if s.todo is Todo.BUILD and s.stage.isolable}
        if self._isolation is not None and apart:
            needed = plan.needed([s.node for s in steps])
            self._isolation.prepare([m for m, names in needed.items() if apart & set(names)])

    def _repaired(self) -> None:
        self._repairs += 1
        if self._repairs > len(self._nodes):
            raise StageError(
                f"the store in {self._store.root} damages what is written to it", command="store=/another/disk"
            )

    def _plan(self, *, explain: bool = False) -> list[Step]:
        nodes = list(self._nodes.values())
        steps = plan.make(nodes, self._store, self._world, damaged=self._damaged, explain=explain)
        self._steps = {s.name: s for s in steps}
        return steps

    def _next(self) -> tuple[Step | None, list[Step]]:
        """The first stored stage that must be built, and its plan; reports the stages before it that need not be built.

        Delivery uses the plan that has nothing left to build: a later plan might have something.
        """
        steps = self._plan()
        self._release(steps)
        for step in steps:
            if step.todo is Todo.HIT:
                self._tell_hit(step)
            elif step.todo is Todo.IDLE:
                self._outcomes.setdefault(step.name, _idle(step))
            elif step.todo is Todo.BUILD and not step.in_memory:
                return step, steps
        return None, steps

    def _build(self, step: Step) -> None:
        """Builds and publishes one stage, unless another run has done so while we waited for its lock."""
        assert step.key is not None
        assert step.key_document is not None
        self._hold(self._store.lock(step.key, step.name))
        if self._next_is_not(step):
            return
        if (earlier := self._outcomes.get(step.name)) is not None and earlier.how == "built":
            self._repaired()
        inputs = self._inputs(step.name)
        sources = _stored(inputs)
        with self._store.staging(sources) as folder:
            result, meter = self._run(step.name, inputs, folder)
            if result.folder is None:
                result = replace(result, digest=step.key)
            elif not result.digest:  # new content, not an input passed through
                with self._naming(step.name):
                    result = self._store.publish(result, sources)
        entry = self._store.record(
            Entry(
                step.key,
                step.key_document,
                result.digest,
                str(result.kind),
                result.notes,
                round(meter.seconds, 3),
                plan.sources_of(step.node),
            ),
            replacing=step.digest,
        )
        self._store.offer(entry)
        if entry.digest == result.digest:
            self._in_memory[step.name] = result
            self._keep(step.key, result)
        self._tell(step.name, "built", entry, meter.peak_bytes)

    def _next_is_not(self, step: Step) -> bool:
        now, _ = self._next()
        return now is None or now.key != step.key

    def _run(self, name: str, inputs: Mapping[str, Artifact], folder: Path) -> tuple[Artifact, Meter]:
        """Runs one stage and verifies its result. Raises DrydockError that names the stage."""
        node = self._nodes[name]
        self._listener.started(name)
        try:
            with self._naming(name), Meter() as meter:
                result, peak = self._execute(node, inputs, folder)
        except DrydockError:
            self.failed = self._steps.get(name)  # not a stage before it that was run once more to explain this
            raise
        if peak is not None:
            meter.peak_bytes = peak
        if not isinstance(result, Artifact):
            raise StageError(f"{name} returned {type(result).__name__}", allowed="a pipeline.artifact.Artifact")
        if result.kind != node.kind:
            raise StageError(f"{name} made {result.kind} but promises {node.kind}")
        passed = any(result.digest == source.digest and result.folder == source.folder for source in inputs.values())
        if result.folder not in (None, folder) and not passed:
            raise StageError(f"{name} left its result in {result.folder}, outside the folder it was given")
        if result.folder is None and result.live is None:
            raise StageError(f"{name} left no files, and no object in memory either")
        written = formats.format_of(result.kind).file and result.folder == folder
        with self._store.explained():
            lacking = written and not result.file.exists() and not result.file.is_symlink()
        if lacking:
            raise StageError(
                f"{name} made {result.kind} but wrote no {result.kind.file}: it is not in {result.folder}",
                command="run the same command again, in case the disk lost it; otherwise the stage is at fault",
            )
        primary = next(iter(inputs.values()), None)
        facts = carried(primary.facts if primary else {}, result.facts)
        # A digest that was copied along with other fields of an input says nothing of new content.
        return replace(result, digest=result.digest if passed else "", facts=facts), meter

    def _execute(self, node: Node, inputs: Mapping[str, Artifact], folder: Path) -> tuple[Artifact, int | None]:
        """A stage's result, and its peak memory where it ran in a separate process."""
        if self._isolation is not None and self._isolation.takes(node.stage, inputs):
            return self._isolation.run(node.stage, inputs, folder)
        # What is kept in memory may need its temporary files later.
        temporary = scratch.folder() if node.stage.isolable else nullcontext()
        with temporary, watchdog.within(self._isolation.timeout if self._isolation else None, node.name):
            result = node.stage.run(inputs, folder)
        memory.release()
        return result, None

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Converts any exception of a stage to a DrydockError that names it."""
        try:
            yield
        except DrydockError as e:
            raise type(e)([p.at(f"{name}: ") for p in e.problems]) from e
        except Damaged:
            raise
        except Exception as e:  # the one broad except: vendors raise anything
            first = str(e).strip().splitlines() or ["no message"]
            raise StageError(
                f"{name} failed with {type(e).__name__}: {first[0]}", command=self._store.shortage() or "see the log"
            ) from e

    def _inputs(self, name: str) -> dict[str, Artifact]:
        return {port: self._with_origin(source) for port, source in self._nodes[name].inputs.items()}

    def _with_origin(self, name: str) -> Artifact:
        return replace(self._artifact(name), origin=self._origin(name))

    def _origin(self, name: str) -> Origin:
        """The origin of a stage's result; a pass-through stage has the origin of its input."""
        node = self._nodes[name]
        if port := node.stage.passes_on:
            return self._origin(node.inputs[port])
        primary = next(iter(node.inputs.values()), None)
        return Origin(name, functools.partial(self._with_origin, primary) if primary else None)

    def _artifact(self, name: str) -> Artifact:
        """A stage's result: from memory, verified from the store, or, if it is never stored, built now."""
        if name in self._in_memory:
            return self._in_memory[name]
        step = self._steps[name]  # of the plan by which it is needed; in another, its result may be gone
        cached = self._cache.get(step.key or "")
        if step.in_memory and cached is not None:
            self._in_memory[name] = cached
            self._outcomes[name] = Outcome(name, "hit", step.key, notes={"says": "still in memory"}, facts=cached.facts)
            self._listener.finished(self._outcomes[name])
        elif step.in_memory:
            inputs = self._inputs(name)
            with self._store.staging(_stored(inputs)) as folder:
                result, meter = self._run(name, inputs, folder)
            if result.folder is not None:
                raise StageError(f"{name} left files, but its result is one that is kept in memory")
            self._in_memory[name] = result = replace(result, digest=step.digest or "")
            outcome = Outcome(name, "built", step.key, None, 0, round(meter.seconds, 3), meter.peak_bytes, result.notes)
            self._outcomes[name] = replace(outcome, facts=result.facts)
            self._listener.finished(self._outcomes[name])
            self._keep(step.key, result)
        else:
            assert step.digest is not None
            fits = cached is not None and cached.digest == step.digest
            self._in_memory[name] = cached if cached is not None and fits else self._store.open(step.digest)
        return self._in_memory[name]

    def _keep(self, key: str | None, result: Artifact) -> None:
        """Keeps an object in memory for the next run of this process."""
        if self._caches and key and result.live is not None:
            self._cache[key] = result

    def _deliver_all(self, steps: Sequence[Step]) -> list[Path]:
        by_name = {s.name: s for s in steps}
        delivering = [s for s in steps if s.todo is Todo.DELIVER]
        return [
            self._deliver(s, by_name, self._output / s.name if len(delivering) > 1 else self._output)
            for s in delivering
        ]

    def _deliver(self, step: Step, steps: Mapping[str, Step], output: Path) -> Path:
        self._listener.started(step.name)
        if living := [source for source in step.node.inputs.values() if steps[source].in_memory]:
            raise StageError(
                f"{step.name} has no files to deliver: {living[0]} kept its result in memory",
                command=f"'stages.{step.name}.needs=[…]' with a stage whose result is stored",
            )
        digests = {port: steps[source].digest or "" for port, source in step.node.inputs.items()}
        for digest in digests.values():
            self._store.fetch(digest)
        inputs = {port: self._store.glance(digest) for port, digest in digests.items()}
        record = lineage.record_of(step.node, steps, self._store, self._about)
        with self._naming(step.name), Meter() as meter:
            path, delivered = delivery.deliver(step.stage, inputs, self._store, output, record)
        self._records.append(record)
        first = next(iter(inputs.values()))
        # Of what was checked: neither the record nor what a bundle adds makes a model larger.
        size = sum(f.size for f in self._store.files(first.digest) if f.path in record["content"])
        outcome = Outcome(step.name, "delivered", step.key, first.digest, size, round(meter.seconds, 3))
        self._outcomes[step.name] = replace(outcome, notes=delivered.notes, facts=first.facts)
        self._listener.finished(self._outcomes[step.name])
        return path

    def _hold(self, lock: Lock | None) -> None:
        """Acquires the next lock before it releases the last one.

        A run that waits for a stage is thus always behind the run that builds it, and never rebuilds what that run
        holds in memory. Holding both is only ever tried, not waited for, so two runs cannot wait for each other.
        """
        previous, self._lock = self._lock, None
        with ExitStack() as let_go:
            if previous is not None:
                let_go.callback(previous.release)
            if lock is not None and not lock.try_acquire():
                let_go.close()
                lock.acquire()
            self._lock = lock

    def _release(self, steps: Sequence[Step]) -> None:
        """Drops results from memory that no remaining build uses."""
        used = {source for s in steps if s.todo is Todo.BUILD for source in s.node.inputs.values()}
        unused = self._in_memory.keys() - used
        cached_ids = {id(a.live) for a in self._cache.values()}
        living = [
            n for n in unused if self._in_memory[n].live is not None and id(self._in_memory[n].live) not in cached_ids
        ]
        for name in unused:
            del self._in_memory[name]
        # Exported programs are full of cycles. What stays shares its tensors with what goes, and a collection takes a
        # quarter of a second with torch in memory, so it waits for the last, and then for a stage that runs elsewhere.
        if living and not any(a.live is not None for a in self._in_memory.values()):
            elsewhere = next((s.stage.isolable for s in steps if s.todo is Todo.BUILD), False)
            if elsewhere and self._isolation == Isolation():
                meanwhile.append(gc.collect)
            else:
                gc.collect()

    def _forget(self, digest: str) -> None:
        for name in [n for n, a in self._in_memory.items() if a.digest == digest]:
            del self._in_memory[name]
        self._outcomes = {n: o for n, o in self._outcomes.items() if o.digest != digest}

    def _tell_hit(self, step: Step) -> None:
        if step.name not in self._outcomes and step.entry is not None:
            self._tell(step.name, "hit", step.entry, None)
            self._store.offer(step.entry)

    def _tell(self, name: str, how: str, entry: Entry, peak: int | None) -> None:
        outcome = Outcome(name, how, entry.key, None, 0, entry.seconds, peak, entry.notes)
        if entry.in_memory:
            outcome = replace(outcome, facts=self._in_memory[name].facts)
        else:
            size = sum(f.size for f in self._store.files(entry.digest))
            outcome = replace(outcome, digest=entry.digest, size=size, facts=self._store.glance(entry.digest).facts)
        self._outcomes[name] = outcome
        self._listener.finished(outcome)


def _idle(step: Step) -> Outcome:
    """The outcome of a stage that need not run although its result is not available."""
    notes = step.entry.notes if step.in_memory and step.entry else Notes(says="nothing after it must run")
    return Outcome(step.name, "hit", step.key, None if step.in_memory else step.digest, notes=notes)


def _stored(inputs: Mapping[str, Artifact]) -> list[str]:
    """The digests of the inputs that have files, which a result may share by hard links."""
    return [a.digest for a in inputs.values() if a.folder is not None]
