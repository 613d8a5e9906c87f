"""One job, from its configuration to its artifact: what the command line and Python both run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.artifact import Artifact
from pipeline.config.composed import Composed, checked_graph, store_of
from pipeline.errors import DrydockError
from pipeline.housekeeping import budget
from pipeline.machine import git
from pipeline.machine.world import ThisMachine
from pipeline.planning import plan, ways
from pipeline.planning.graph import Node
from pipeline.planning.plan import Step
from pipeline.planning.ways import Changes, Refused, Served
from pipeline.record import lineage
from pipeline.running import delivery, isolation
from pipeline.running.isolation import Isolation
from pipeline.running.outcome import Listener, Outcome, Result
from pipeline.running.runner import Runner
from pipeline.runs.manifest import RunManifest
from pipeline.store import Store
from pipeline.store.files import read_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A job that can begin: its graph is checked, and no work is done.

    Args:
        composed: The overrides and the configuration that they give.
        config: The configuration that this job runs; see composed.Composed.
        nodes: The graph of that configuration.
        store: Where results are kept.
        world: The machine that the stages' identities depend on.
        output: The folder to deliver to.
        isolation: Where stages run that can be isolated; None for this process.
        keep: The bytes that this user's results may take in the store after the run; None for no limit.
        changes: The options that replace the chosen ones, by group; empty for the choice itself.
        served: The store's note that these changes served an earlier run; None where there is none.
    """

    composed: Composed
    config: Mapping[str, Any]
    nodes: Sequence[Node]
    store: Store
    world: ThisMachine
    output: Path
    isolation: Isolation | None
    keep: int | None = None
    changes: Changes = field(default_factory=dict)
    served: Served | None = None

    def plan(self) -> list[Step]:
        """What would be built, and why."""
        return plan.make(plan.settle(self.nodes, self.world), self.store, self.world, damaged=set(), explain=True)

    def run(
        self,
        manifest: RunManifest,
        listener: Callable[[], Listener],
        runs: Path,
        cache: dict[str, Artifact] | None = None,
    ) -> Result:
        """Builds what is missing and delivers.

        Args:
            manifest: Records each step.
            listener: Makes another listener, once the work begins.
            runs: The folder that runs write to, whose changes are none of the checkout's.
            cache: See Runner.

        Raises DrydockError.
        """
        with budget.after(self.store, self.keep):
            return self._run(manifest, listener, runs, cache)

    def _run(
        self, manifest: RunManifest, listener: Callable[[], Listener], runs: Path, cache: dict[str, Artifact] | None
    ) -> Result:
        delivery.check(self.output)
        state = git.state(self.world, (runs, self.store.root, self.output))
        manifest.note_configuration(self.config, state)
        if self.config["require_clean"]:
            git.refuse_changes(state)
        both = _Both(listener(), manifest)
        result = self._first_that_serves(manifest, both, cache)
        manifest.finish(result)
        self.store.note_run(read_json(manifest.path))
        names = (str(self.config[group]["name"]) for group in ("model", "target"))
        self.store.name({o.digest for o in result.outcomes if o.digest}, *names)
        return result

    def _first_that_serves(self, manifest: RunManifest, both: Listener, cache: dict[str, Artifact] | None) -> Result:
        """Runs this job and, if it fails, its alternatives in turn. Raises the first job's error if none serves."""
        refused: list[Refused] = []
        closed: list[str] = []
        for job in self._ways(refused, closed):
            if job.changes != self.changes:
                manifest.goes_on(job.config, job.changes)
            about = lineage.about(job.config)
            runner = Runner(job.nodes, job.store, job.world, job.output, both, about, job.isolation, cache)
            try:
                result = runner.run()
            except DrydockError as e:
                if runner.failed is None or not ways.may_go_on(e) or not self.composed.config["instead"]:
                    raise
                refused.append(Refused(job.changes, job.nodes, runner.failed.name, runner.failed.key, e))
                continue
            if not refused:
                return replace(result, served=job.served)
            served = Served(job.changes, [r.why for r in refused])
            if result.record is not None:
                ways.keep(self.store, refused, served, result.record["digest"])
            return replace(result, served=served)
        raise ways.all_refused(refused, closed)

    def _ways(self, refused: Sequence[Refused], closed: list[str]) -> Iterator[Job]:
        """This job, then each alternative that may serve although the earlier ones failed.

        Args:
            refused: Grows meanwhile.
            closed: Gets a line for each alternative that cannot be configured.
        """
        yield self
        for changes in ({}, *ways.alternatives(self.composed.config["instead"])):
            if changes == self.changes:
                continue
            try:
                job = self._by(changes)
            except DrydockError as e:  # such as an opset that one of two exporters does not write
                closed.append(f"{ways.name(changes)}: {ways.first_line(e)}")
                continue
            if any(r.also_refuses(job.nodes) for r in refused) or not refused[-1].leaves_open(job.nodes):
                continue
            log.warning("%s; trying %s", refused[-1].why, ways.name(changes), exc_info=refused[-1].error)
            yield job

    def _by(self, changes: Changes) -> Job:
        """The job with other options. Raises ConfigError, or BackendMissing."""
        from pipeline.config import compose  # here: it imports Hydra, and few runs go another way

        config = compose.changed(self.composed, changes).config
        return replace(self, config=config, nodes=checked_graph(config), changes=changes, served=None)

    def as_served(self) -> Job:
        """The job with the alternative that an earlier run ended well with, if this one would fail there."""
        if not self.config["instead"] or not self.store.actions.has(ways.SERVED):
            return self
        settled = plan.settle(self.nodes, self.world)
        for served in ways.served_before(
            self.store, plan.make(settled, self.store, self.world, damaged=set(), explain=False)
        ):
            try:
                return replace(self._by(served.changes), served=served)
            except DrydockError as e:
                log.info("the alternative that served earlier cannot be configured: %s", e)
        return self


def ready(composed: Composed, folder: Path) -> Job:
    """A job whose graph, store and output are checked.

    Args:
        composed: Its configuration.
        folder: The base of a relative output.

    Raises ConfigError with every problem, or BackendMissing.
    """
    config = composed.config
    nodes = checked_graph(config, composed.stages)
    apart, keep = isolation.from_settings(config["runner"]), budget.of(config)
    store = store_of(config, folder)
    output = folder / config["output"]
    delivery.refuse(output, store.root)
    world = ThisMachine(store.root / "facts", may_fetch=not config["plan"])
    return Job(composed, config, nodes, store, world, output, apart, keep).as_served()


class _Both:
    """Two listeners as one: the run's record, and who watches it."""

    def __init__(self, screen: Listener, manifest: RunManifest) -> None:
        self._screen, self._manifest = screen, manifest

    def planned(self, steps: Sequence[Step]) -> None:
        self._manifest.planned(steps)
        self._screen.planned(steps)

    def started(self, name: str) -> None:
        self._manifest.started(name)
        self._screen.started(name)

    def finished(self, outcome: Outcome) -> None:
        self._manifest.stage(outcome)
        self._screen.finished(outcome)
