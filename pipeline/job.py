"""One job, from its configuration to its artifact: what the command line and Python both run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifact import Artifact
from pipeline.config import compose
from pipeline.config.compose import Composed
from pipeline.machine import git
from pipeline.machine.world import ThisMachine
from pipeline.planning import plan
from pipeline.planning.graph import Node
from pipeline.planning.plan import Step
from pipeline.record import lineage
from pipeline.running import delivery, isolation
from pipeline.running.isolation import Isolation
from pipeline.running.outcome import Listener, Outcome, Result
from pipeline.running.runner import Runner
from pipeline.runs.manifest import RunManifest
from pipeline.store import Store
from pipeline.store.files import read_json


@dataclass(frozen=True)
class Job:
    """A job that can begin: its graph is checked, and no work is done.

    Args:
        config: See compose.Composed.
        nodes: The graph.
        store: Where results are kept.
        world: What the stages' identities are asked of.
        output: The folder to deliver to.
        isolation: Where stages run that can be isolated; None for this process.
    """

    config: Mapping[str, Any]
    nodes: Sequence[Node]
    store: Store
    world: ThisMachine
    output: Path
    isolation: Isolation | None

    def plan(self) -> list[Step]:
        """What would be built, and why."""
        return plan.make(plan.settle(self.nodes, self.world), self.store, self.world, damaged=set(), explain=True)

    def run(
        self,
        manifest: RunManifest,
        listener: Callable[[], Listener],
        runs: Path,
        kept: dict[str, Artifact] | None = None,
    ) -> Result:
        """Builds what is missing and delivers.

        Args:
            manifest: Is told of each step.
            listener: Makes who else is told, once the work begins.
            runs: The folder that runs write to, whose changes are none of the checkout's.
            kept: See Runner.

        Raises DrydockError.
        """
        delivery.check(self.output)
        state = git.state(self.world, (runs, self.store.root, self.output))
        manifest.asked(self.config, state)
        if self.config["require_clean"]:
            git.refuse_changes(state)
        both, about = _Both(listener(), manifest), lineage.about(self.config)
        runner = Runner(self.nodes, self.store, self.world, self.output, both, about, self.isolation, kept)
        result = runner.run()
        manifest.finish(result)
        self.store.note_run(read_json(manifest.path))
        return result


def ready(composed: Composed, folder: Path) -> Job:
    """A job whose graph, store and output are checked.

    Args:
        composed: Its configuration.
        folder: What a relative output is relative to.

    Raises ConfigError with every problem, or BackendMissing.
    """
    config = composed.config
    nodes = compose.checked_graph(config)
    apart = isolation.of(config["runner"])
    store = compose.store_of(config)
    output = folder / config["output"]
    delivery.refuse(output, store.root)
    world = ThisMachine(store.root / "facts", may_fetch=not config["plan"])
    return Job(config, nodes, store, world, output, apart)


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
