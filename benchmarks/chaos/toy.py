"""A graph of tiny stages, and one job of it as the command line runs one, with the real runner and store."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipeline import disk
from pipeline.artifact import Artifact, Kind
from pipeline.errors import DrydockError
from pipeline.machine.world import ThisMachine
from pipeline.planning import graph
from pipeline.planning.plan import Step
from pipeline.running import delivery
from pipeline.running.outcome import Outcome
from pipeline.running.runner import Runner
from pipeline.runs.manifest import RunManifest
from pipeline.stage import Keep, Stage
from pipeline.store import Store, Trust
from pipeline.store.files import read_json
from stages.delivery.save import Save

GRAPH, CAPTURE = Kind("onnx"), Kind("exported")
WEIGHTS = "weights.bin"
STORED = ("write", "upper", "check")
ABOUT = {
    "model": "toy",
    "target": "onnx",
    "precision": {"name": "fp32", "storage": "float32", "compute": "float32"},
    "seed": 0,
}


@dataclass(frozen=True)
class Say(Stage):
    """A text, in memory alone."""

    text: str

    produces: ClassVar[Kind | str] = Kind.MODULE
    keep: ClassVar[Keep] = Keep.MEMORY

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        return Artifact(Kind.MODULE, facts={"length": len(self.text)}, live=self.text)


@dataclass(frozen=True)
class Hold(Stage):
    """A stage that is stored by nature, and keeps this result in memory."""

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"text": frozenset({Kind.MODULE})}
    produces: ClassVar[Kind | str] = CAPTURE

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        return Artifact(CAPTURE, live=f"{inputs['text'].live}!")


@dataclass(frozen=True)
class Write(Stage):
    """Writes a text, and weights beside it in a folder."""

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"text": frozenset({CAPTURE})}
    produces: ClassVar[Kind | str] = GRAPH

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        (folder / GRAPH.file).write_text(inputs["text"].live * 9)
        (folder / WEIGHTS).write_bytes(inputs["text"].live.encode() * 999)
        return Artifact(GRAPH, folder)


@dataclass(frozen=True)
class Upper(Stage):
    """Writes a text anew, and shares the weights beside it by a link."""

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"graph": frozenset({GRAPH})}
    produces: ClassVar[Kind | str] = GRAPH
    isolable: ClassVar[bool] = True

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        (folder / GRAPH.file).write_text(inputs["graph"].file.read_text().upper())
        inputs["graph"].share(WEIGHTS, folder)
        return Artifact(GRAPH, folder)


@dataclass(frozen=True)
class Verify(Stage):
    """Looks, and changes nothing."""

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"graph": frozenset({GRAPH})}
    produces: ClassVar[Kind | str] = "graph"

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        assert inputs["graph"].file.read_text().isupper()
        return inputs["graph"].noting(says="agrees", claims={"agrees": True})


def stages(text: str) -> dict[str, Stage]:
    save = Save(name="toy", bundle=False, license=None, labels=None, preprocessing=None)
    return {"say": Say(text), "hold": Hold(), "write": Write(), "upper": Upper(), "check": Verify(), "save": save}


@dataclass(frozen=True)
class Job:
    """One job.

    Args:
        home: The folder that everything of it lies in.
        text: What the first stage says.
        output: The name of the folder that is delivered to.
        store: The name of the store's folder.
        trust: Whose results are taken besides.
    """

    home: Path
    text: str = "after"
    output: str = "out"
    store: str = "store"
    trust: tuple[str, ...] = ()

    @property
    def delivered(self) -> Path:
        return self.home / self.output

    def run(self) -> dict[str, Any]:
        """What came of it, as plain data: the exit code, what was said, and how each stage came to be, by its key."""
        log = _LogLines()
        manifest = None
        try:
            manifest = RunManifest(self.home / f"run-{self.output}" / "run.json", [], {})
            how = self._go(manifest)
        except Exception as e:
            error = e if isinstance(e, DrydockError) else disk.of_unknown(e)
            if error is None:
                return {"code": 1, "told": f"a bug in Drydock: {type(e).__name__}: {e}", "how": {}}
            if manifest is not None:
                manifest.fail(error, error.exit_code)
            return {"code": error.exit_code, "told": "\n".join(map(str, error.problems)), "how": {}}
        return {"code": 0, "told": log.text(), "how": how}

    def _go(self, manifest: RunManifest) -> dict[str, tuple[str, str | None]]:
        store = Store(self.home / self.store, trust=Trust.of(self.trust))
        delivery.refuse(self.delivered, store.root)
        delivery.check(self.delivered)
        world = ThisMachine(store.root / "facts", may_fetch=False)
        nodes = graph.build(stages(self.text), {})
        result = Runner(nodes, store, world, self.delivered, _ManifestListener(manifest), ABOUT).run()
        manifest.finish(result)
        store.note_run(read_json(manifest.path))
        return {o.name: (o.how, o.key) for o in result.outcomes}


class _ManifestListener:
    """The manifest as a listener."""

    def __init__(self, manifest: RunManifest) -> None:
        self._manifest = manifest

    def planned(self, steps: list[Step]) -> None:
        self._manifest.planned(steps)

    def started(self, name: str) -> None:
        self._manifest.started(name)

    def finished(self, outcome: Outcome) -> None:
        self._manifest.stage(outcome)


class _LogLines(logging.Handler):
    """What is logged while a job runs."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []
        log = logging.getLogger()
        log.handlers = [self]

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            self._lines.append(record.getMessage())

    def text(self) -> str:
        return "\n".join(self._lines)
