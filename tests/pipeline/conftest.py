"""Tiny stages that leave a line in a log each time they run, and what else the tests of the core share."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipeline.artifact import Artifact, Kind
from pipeline.machine.world import ThisMachine
from pipeline.planning import graph
from pipeline.running.outcome import Outcome, Result
from pipeline.running.runner import Runner
from pipeline.stage import Keep, Stage, name_of
from pipeline.store import State, Store
from pipeline.store.files import walk

# By name, as what knows no format has them: the stages of these tests are not ours.
EXPORTED, ONNX, OPENVINO = Kind("exported"), Kind("onnx"), Kind("openvino")
CRASHED = 99
PRECISION = {"name": "fp32", "storage": "float32", "compute": "float32"}
# Of a Dock: the stages whose results are stored, and all of them.
STORED = ["record", "export", "tidy", "compile"]
ALL = ["load", *STORED, "save"]
ABOUT = {"model": "net", "target": "openvino", "precision": PRECISION, "seed": 0}


class Module:
    """Stands for a live module: it can be referred to weakly and, as an exported program, refers to itself."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.me = self


def nothing(inputs: Mapping[str, Artifact]) -> None:
    """The default action of a stage besides its work: none."""


@dataclass(frozen=True)
class Fake(Stage):
    log: Path
    text: str = ""
    hook: Callable[[Mapping[str, Artifact]], None] = nothing

    produces: ClassVar[Kind | str] = ONNX

    def files(self) -> frozenset[str]:
        return frozenset({str(self.log)})

    def identity(self, world: Any) -> Mapping[str, Any]:
        return {"text": self.text}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        with self.log.open("a") as f:
            f.write(f"{type(self).__name__.lower()}\n")
        self.hook(inputs)
        return self.make(inputs, folder)

    def make(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        kind = Kind(self.produces)
        (folder / kind.file).write_text(f"{self.text} {kind}")
        return Artifact(kind, folder)


class Load(Fake):
    produces = Kind.MODULE
    keep = Keep.MEMORY

    def make(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        return Artifact(Kind.MODULE, facts={"source": {"bytes": 100}}, live=Module(self.text))


class Record(Fake):
    consumes: ClassVar = {"module": frozenset({Kind.MODULE})}
    produces = Kind.REFERENCE

    def make(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        (folder / Kind.REFERENCE.file).write_text(f"outputs of {inputs['module'].live.text}")
        return Artifact(Kind.REFERENCE, folder)


class Export(Fake):
    consumes: ClassVar = {"module": frozenset({Kind.MODULE})}

    def make(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        (folder / "weights").mkdir()
        (folder / "weights" / "0.bin").write_bytes(bytes(range(64)))
        (folder / "model.onnx").write_text(f"graph of {inputs['module'].live.text}, {self.text}")
        return Artifact(ONNX, folder)


class Random(Export):
    """Makes other content each time."""

    def make(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        (folder / "model.onnx").write_text(os.urandom(16).hex())
        return Artifact(ONNX, folder)


class Capture(Fake):
    """Keeps its result in memory, as a capture does whose weights are many."""

    consumes: ClassVar = {"module": frozenset({Kind.MODULE})}
    produces = EXPORTED

    def make(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        facts = {"captured": self.text}
        return Artifact(EXPORTED, facts=facts, notes={"says": "in memory"}, live=Module(inputs["module"].live.text))


class ExportCaptured(Export):
    consumes: ClassVar = {"module": frozenset({EXPORTED})}


class Trim(Fake):
    """Writes a new graph beside the weights that its input has already."""

    consumes: ClassVar = {"model": frozenset({ONNX})}

    def make(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        (folder / "model.onnx").write_text(f"trimmed {inputs['model'].file.read_text()}")
        (folder / "weights").mkdir()
        os.link(inputs["model"].folder / "weights" / "0.bin", folder / "weights" / "0.bin")
        return Artifact(ONNX, folder)


class Tidy(Fake):
    """Removes its text from the model, and hands its input on when there is nothing to remove."""

    consumes: ClassVar = {"model": frozenset({ONNX})}

    def make(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        before = inputs["model"].file.read_text()
        if self.text not in before:
            return inputs["model"].noting(says="nothing to tidy")
        (folder / "model.onnx").write_text(before.replace(self.text, ""))
        return Artifact(ONNX, folder)


class Check(Fake):
    consumes: ClassVar = {
        "artifact": frozenset({ONNX, OPENVINO}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces = "artifact"

    def make(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        return inputs["artifact"].noting(says="agrees")


class Compile(Fake):
    consumes: ClassVar = {"model": frozenset({ONNX})}
    produces = OPENVINO

    def make(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        (folder / "model.xml").write_text(f"<net>{inputs['model'].file.read_text()}</net>")
        (folder / "model.bin").write_bytes(b"weights" * 9)
        return Artifact(OPENVINO, folder)


class Save(Fake):
    consumes: ClassVar = {"artifact": frozenset({ONNX, OPENVINO})}
    produces = Kind.DELIVERY
    keep = Keep.DELIVERED

    def make(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        source = inputs["artifact"]
        others = shutil.ignore_patterns("artifact.json")
        shutil.copytree(source.folder, folder, ignore=others, copy_function=shutil.copyfile, dirs_exist_ok=True)
        folder.chmod(0o755)
        copies = {name: name for name in (f.relative_to(folder).as_posix() for f in walk(folder))}
        return Artifact(Kind.DELIVERY, folder, notes={"file": source.file.name, "copies": copies})


class Boom(Exception):
    """An error of a vendor."""


def without_record(path: Path) -> str:
    """A delivered file as it was before its record was put in."""
    text = re.sub(rb"\t<rt_info>\n\t\t<drydock_record.*</rt_info>\n", b"", path.read_bytes(), flags=re.DOTALL)
    return re.sub(rb"r[\x80-\xff]*.\n\x0edrydock\.record.*", b"", text, flags=re.DOTALL).decode()


class Quiet:
    """A listener that records its calls."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.outcomes: list[Outcome] = []

    def planned(self, steps: Any) -> None:
        self.steps = list(steps)

    def started(self, name: str) -> None:
        pass

    def finished(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


class Dock:
    """A graph of fakes with its store, output folder and log, to be changed and run as often as a test likes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.log = home / "log"
        self.output = home / "out"
        self.stages: dict[str, Stage] = {
            "load": Load(self.log, "net"),
            "record": Record(self.log),
            "export": Export(self.log, "opset 18"),
            "tidy": Tidy(self.log, "opset"),
            "compile": Compile(self.log),
            "save": Save(self.log),
        }
        self.needs: dict[str, list[str]] = {}

    @property
    def store(self) -> Store:
        return Store(self.home / "store")

    @property
    def world(self) -> ThisMachine:
        return ThisMachine(self.home / "store" / "facts", may_fetch=True)

    def change(self, name: str, **settings: Any) -> None:
        self.stages[name] = replace(self.stages[name], **settings)

    def nodes(self) -> list[graph.Node]:
        return graph.build(self.stages, self.needs)

    def run(self, listener: Quiet | None = None, cache: dict[str, Artifact] | None = None) -> Result:
        return Runner(self.nodes(), self.store, self.world, self.output, listener or Quiet(), ABOUT, cache=cache).run()

    def ran(self) -> list[str]:
        """The stages that ran since the last call, in order."""
        lines = self.log.read_text().split() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines

    def object_of(self, name: str) -> Path:
        """The folder of a stage's stored result."""
        (entry,) = [
            json.loads(p.read_text())
            for p in (self.home / "store" / "actions").glob("*/*.json")
            if p.parent.name == name_of(type(self.stages[name]))
        ]
        return self.store.objects.folder(entry["digest"])

    def assert_sound(self) -> None:
        """Asserts that the store is sound after any failure: nothing unfinished, damaged or locked."""
        root = self.home / "store"
        assert list((root / "staging").iterdir()) == []
        for folder in (root / "objects").glob("*/*/"):
            assert self.store.objects.state(folder.name, thorough=True) is State.PRESENT
        for path in (root / "actions").glob("*/[0-9a-f]*.json"):
            assert self.store.actions.find(path.parent.name, path.stem) is not None
        for path in (root / "locks").glob("*"):
            lock = self.store.lock(path.stem, "after a run")
            assert lock.try_acquire()
            lock.release()


@pytest.fixture
def dock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dock:
    # Waiting for the disk is nine tenths of a run of fakes. Whether it is waited for is tested where it is done.
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    return Dock(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def digests(result: Result) -> dict[str, str | None]:
    return {o.name: o.digest for o in result.outcomes}


def how(result: Result) -> dict[str, str]:
    return {o.name: o.how for o in result.outcomes}


def flip(path: Path, bit: int = 0) -> None:
    """Flips one bit and sets the time of the last change back, as a failing disk would leave it."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.chmod(0o644)
    path.write_bytes(content)
    restore_mtime(path, before)


def restore_mtime(path: Path, before: os.stat_result) -> None:
    """Sets mtime back, but not before the clock of ctime has ticked: a test is faster than its resolution."""
    while True:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        if path.stat().st_ctime_ns != before.st_ctime_ns:
            return


def child(work: Callable[[], Any]) -> Any:
    """A process that does some work of ours; a fork, since importing anew would cost more than the test itself."""
    # A daemon, so that a test that fails before it ends the process does not leave pytest waiting for it.
    return multiprocessing.get_context("fork").Process(target=work, daemon=True)


def exit_code(work: Callable[[], Any]) -> int | None:
    process = child(work)
    process.start()
    process.join()
    return process.exitcode


def raising(error: BaseException) -> Callable[..., Any]:
    """A function that does nothing but raise."""

    def call(*args: Any, **kwargs: Any) -> None:
        raise error

    return call
