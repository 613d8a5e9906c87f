"""Stages in a process of their own: results and errors come back, and nothing stays behind."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import onnx
import pytest
from misbehaving import AsksBackToTheFirst, AsksWhatItIsMadeOf, DiesOf, Isolated
from onnx import TensorProto, helper

from pipeline.artifact import Artifact, Kind
from pipeline.errors import CheckFailed, ConfigError, StageError
from pipeline.machine.world import ThisMachine
from pipeline.planning import graph
from pipeline.running import isolation
from pipeline.running.isolation import Isolation
from pipeline.running.outcome import Outcome
from pipeline.running.runner import Runner
from pipeline.stage import Keep, Stage
from pipeline.store import Store
from pipeline.terminal.console import StderrHandler
from stages.onnx.format import ONNX

APART = Isolation()
NOTHING = {"isolate": True, "memory": None, "timeout": None}


class Silent:
    def planned(self, steps: Any) -> None: ...

    def started(self, name: str) -> None: ...

    def finished(self, outcome: Outcome) -> None: ...


@dataclass(frozen=True)
class Source(Stage):
    """Makes files here, and keeps an object beside them."""

    produces: ClassVar[Kind | str] = ONNX

    def run(self, inputs: Any, folder: Path) -> Artifact:
        (folder / "model.onnx").write_text("graph")
        return Artifact(ONNX, folder, facts={"from": "source"}, live=threading.Lock())


@dataclass(frozen=True)
class InMemory(Stage):
    """Makes a model that is in memory alone."""

    model: Any = "weights"

    produces: ClassVar[Kind | str] = Kind.MODULE
    keep: ClassVar[Keep] = Keep.MEMORY

    def run(self, inputs: Any, folder: Path) -> Artifact:
        return Artifact(Kind.MODULE, live=self.model)


class Cyclic(InMemory):
    """Makes a model that refers to itself."""

    released: ClassVar[list[str]] = []

    def run(self, inputs: Any, folder: Path) -> Artifact:
        model = threading.Event()
        model.itself = model  # type: ignore[attr-defined]
        weakref.finalize(model, self.released.append, "model")
        return Artifact(Kind.MODULE, live=model)


class Exported(Source):
    """A source that is made of a model."""

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"module": frozenset({Kind.MODULE})}


class Yard:
    """A graph of a source and a stage that is isolated, to be run as often as a test likes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.store = Store(home / "store")

    def run(self, doing: str = "nothing", apart: Isolation | None = APART) -> Outcome:
        return self.ran({"source": Source(), "compile": Isolated(doing)}, apart)["compile"]

    def ran(self, stages: Mapping[str, Stage], apart: Isolation | None = APART) -> dict[str, Outcome]:
        world = ThisMachine(self.home / "facts", may_fetch=True)
        nodes = graph.build(stages, {})
        result = Runner(nodes, self.store, world, self.home / "out", Silent(), isolation=apart).run()
        return {o.name: o for o in result.outcomes}

    def refusal(self, doing: str, **limits: Any) -> str:
        with pytest.raises(StageError) as failed:
            self.run(doing, Isolation(**limits))
        return str(failed.value)


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    yield Yard(tmp_path)
    # What a test did to the worker is not for the next one to find.
    if isolation._current is not None:
        isolation._current.end()


def gone(pid: int) -> bool:
    """Whether a process has ended, or does within half a minute; one that nobody has asked for its code counts."""
    for _ in range(3000):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_a_result_made_elsewhere_is_the_same_result(yard: Yard, tmp_path: Path) -> None:
    apart = yard.run()
    here = Yard(tmp_path / "other").run(apart=None)
    assert (apart.digest, apart.key, apart.facts) == (here.digest, here.key, here.facts)
    assert apart.facts == {"from": "source", "by": "isolated"}
    assert apart.notes["pid"] not in (os.getpid(), here.notes["pid"])
    assert here.notes["pid"] == os.getpid()


@pytest.mark.parametrize("apart", [APART, None])
def test_what_a_library_leaves_in_the_temporary_folder_goes(yard: Yard, apart: Any) -> None:
    before = tempfile.gettempdir(), os.environ.get("TMPDIR")
    left = yard.store.open(yard.run("leaves_a_temporary_folder", apart).digest or "").folder
    assert left is not None
    places = (left / "left").read_text().split()
    assert [Path(place).parent.exists() for place in places] == [False, False]
    assert (tempfile.gettempdir(), os.environ.get("TMPDIR")) == before


def test_the_temporary_files_of_a_killed_process_go_too(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place := tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(place))
    yard.refusal("killed")
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(("limits", "waiting"), [({}, 0), ({"timeout": 60.0}, 1), ({"memory": 2**33}, 1)])
def test_what_can_wait_is_done_while_a_stage_runs_there_unless_a_limit_is_watched(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any], waiting: int
) -> None:
    done: list[str] = []
    monkeypatch.setattr(isolation, "meanwhile", [lambda: done.append("once")])
    for doing in ("nothing", "talk"):
        yard.run(doing, Isolation(**limits))
    assert done == ["once"] * (1 - waiting)
    assert len(isolation.meanwhile) == waiting


@pytest.mark.parametrize("apart", [APART, Isolation(timeout=60.0), None])
def test_an_object_that_refers_to_itself_is_released_while_a_stage_runs_there_or_before(yard: Yard, apart: Any) -> None:
    Cyclic.released.clear()
    gc.disable()
    try:
        yard.ran({"load": Cyclic(), "source": Exported(), "compile": Isolated("nothing")}, apart)
    finally:
        gc.enable()
    assert Cyclic.released == ["model"]


def test_the_peak_is_that_of_the_process_that_did_the_work(yard: Yard) -> None:
    ballast = bytearray(os.urandom(1)) * 2**28
    peak = yard.run().peak_bytes
    assert peak is not None
    assert 0 < peak < len(ballast)


def test_one_process_serves_all_until_it_dies(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    first = yard.run("nothing").notes["pid"]
    monkeypatch.setenv("DRYDOCK_TEST", "set since")
    second = yard.run("talk").notes
    assert (second["pid"], second["env"]) == (first, "set since")
    yard.refusal("segfault")
    assert yard.run("only_once").notes["pid"] != first


def test_an_object_in_memory_stays_where_it_is(yard: Yard) -> None:
    assert yard.run().notes["live"] is False


def test_a_stage_may_ask_what_its_input_was_made_of(yard: Yard) -> None:
    stages = {"source": Source(), "compile": Isolated(), "check": AsksWhatItIsMadeOf()}
    notes = yard.ran(stages)["check"].notes
    assert (notes["stage"], notes["source"]) == ("compile", "graph")
    assert notes["pid"] != os.getpid()


def test_a_stage_may_ask_back_to_the_model_which_is_sent_as_it_is(yard: Yard) -> None:
    stages = {"load": InMemory(), "export": Exported(), "compile": Isolated(), "check": AsksBackToTheFirst()}
    notes = yard.ran(stages)["check"].notes
    assert notes["origins"] == [["compile", "onnx", None], ["export", "module", "weights"]]
    assert notes["last"] == "load"
    assert notes["pid"] != os.getpid()


def test_what_cannot_be_opened_is_the_asking_stages_to_judge(yard: Yard) -> None:
    outcomes = yard.ran({"source": Source(), "compile": Isolated()})
    shutil.rmtree(yard.store.objects.folder(outcomes["source"].digest or ""))
    notes = yard.ran({"source": Source(), "compile": Isolated(), "check": AsksWhatItIsMadeOf()})["check"].notes
    assert notes["source"].startswith("Damaged: ")


@pytest.mark.parametrize(
    ("doing", "limits", "message", "command"),
    [
        ("segfault", {}, "compile: its process died of SIGSEGV, Segmentation fault", "see the log for the line"),
        ("killed", {}, "was killed by somebody, probably the kernel for lack of memory", "fewer jobs at once"),
        ("leave", {}, "ended by itself with code 3", "see the log for its last words"),
        ("hang", {"timeout": 1.0}, "was ended after runner.timeout=1 seconds", "runner.timeout=2, or null"),
        ("grow", {"memory": 2**28}, "MiB, above runner.memory=256MiB", "runner.memory=512MiB, or null"),
        ("unpicklable", {}, "compile failed with Unpicklable: code 7", "see the log"),
        ("exits", {}, "compile failed with SystemExit: a library that thinks", "see the log"),
    ],
)
def test_what_ends_the_process_fails_the_stage_and_is_told(
    yard: Yard, doing: str, limits: dict[str, Any], message: str, command: str
) -> None:
    refused = yard.refusal(doing, **limits)
    assert message in refused
    assert f"try:     {command}" in refused
    assert list((yard.store.root / "staging").iterdir()) == []
    assert yard.run().how == "built"


def test_a_failed_stage_is_tried_again_by_the_next_run(yard: Yard) -> None:
    assert yard.refusal("segfault") == yard.refusal("segfault")


def test_an_error_of_ours_comes_back_as_it_was(yard: Yard) -> None:
    with pytest.raises(CheckFailed) as failed:
        yard.run("check")
    first, second = failed.value.problems
    assert (first.what, first.allowed, first.command) == ("compile: worst error is 1.0", "0.1", "precision=fp32")
    assert second.what == "compile: and NaN"
    causes = failed.value.__cause__
    assert causes is not None
    assert "in check\n" in str(causes.__cause__)


def test_a_crash_in_a_process_that_served_others_is_tried_once_more_in_a_new_one(yard: Yard) -> None:
    first = yard.run("only_once").notes["pid"]
    (yard.home / "again").mkdir()
    second = Yard(yard.home / "again").run("only_once")
    assert second.notes["pid"] != first
    assert [f.path for f in Store(yard.home / "again" / "store").files(second.digest or "")] == [
        "artifact.json",
        "model.xml",
    ]


def test_a_crash_in_a_new_process_is_not_tried_again(yard: Yard, caplog: pytest.LogCaptureFixture) -> None:
    (yard.home / "graph").mkdir()
    source = Source().run({}, yard.home / "graph")
    (yard.home / "made").mkdir()
    with caplog.at_level(logging.INFO), pytest.raises(StageError, match="SIGSEGV"):
        APART.run(Isolated("segfault"), {"model": source}, yard.home / "made")
    assert sum("runs in process" in r.getMessage() for r in caplog.records) == 1


def test_what_it_says_reaches_the_log_and_never_stdout(
    yard: Yard, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO):
        yard.run("talk")
        yard.refusal("segfault")
    (cold,) = (r for r in caplog.records if (r.name, r.levelno) == ("stages.misbehaving", logging.WARNING))
    assert cold.getMessage() == "it is cold"
    assert "ValueError: minus 40" in logging.Formatter().format(cold)  # as the log has it
    assert StderrHandler().format(cold) == "it is cold"  # as the screen has it
    words = "\n".join(r.getMessage() for r in caplog.records if r.name == "worker")
    assert "said on stdout" in words
    assert "said on stderr" in words
    assert "misbehaving.py" in words.partition("Segmentation fault")[2]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("sent", "ended_too"),
    [(signal.SIGINT, {"worker", "child"}), (signal.SIGKILL, {"worker"})],
    ids=["interrupted", "killed"],
)
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends a busy process with its parent on Linux only")
def test_a_run_that_is_ended_leaves_no_busy_process(tmp_path: Path, sent: signal.Signals, ended_too: set[str]) -> None:
    # In a process of its own: the signal must meet this run alone, not whatever else the tests have loaded.
    script = (
        "import pathlib, signal, sys; from tests.pipeline.running.test_isolation import Yard\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in a shell's background ignores it
        "Yard(pathlib.Path(sys.argv[1])).run('hang_with_a_child')"
    )
    search_path = os.pathsep.join([*filter(None, sys.path)])
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": search_path},
        stderr=subprocess.DEVNULL,
    ) as run:
        while not (tmp_path / "pids").exists() and run.poll() is None:
            time.sleep(0.01)
        run.send_signal(sent)
        assert run.wait(60) == -sent
    pids = dict(zip(("worker", "child"), map(int, (tmp_path / "pids").read_text().split()), strict=True))
    assert all(gone(pids[name]) for name in ended_too)
    if "child" not in ended_too:
        os.kill(pids["child"], signal.SIGKILL)


def test_a_crash_names_the_operator_that_a_process_dies_of_alone_too(yard: Yard, tmp_path: Path) -> None:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy"]
    nodes = [helper.make_node(kind, [i], [o], kind) for kind, i, o in (("Relu", "x", "a"), ("Cos", "a", "b"))]
    nodes.append(helper.make_node("Sin", ["b"], ["y"], "last"))
    source = tmp_path / "source"
    source.mkdir()
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ports[:1], ports[1:])), source / "model.onnx")
    with pytest.raises(StageError, match=r"its process died of SIGSEGV, .*, at Sin 'last'"):
        APART.run(DiesOf("Sin"), {"program": Artifact(ONNX, source)}, tmp_path)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Isolation()),
        ({"isolate": False}, None),
        ({"memory": "1.5GiB"}, Isolation(memory=3 * 2**29)),
        ({"timeout": 60.0}, Isolation(timeout=60.0)),
    ],
)
def test_stages_are_isolated_within_limits_unless_asked_not_to_be(
    settings: dict[str, Any], expected: Isolation | None
) -> None:
    assert isolation.from_settings({**NOTHING, **settings}) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"memory": "8 gigs"}, "runner.memory is 8 gigs"),
        ({"timeout": 0.0}, "runner.timeout is 0.0"),
        ({"isolate": False, "timeout": 9.0}, "runner.isolate is false, and runner.timeout can limit only"),
    ],
)
def test_a_limit_that_cannot_be_held_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        isolation.from_settings({**NOTHING, **settings})


def test_a_limit_of_memory_is_refused_where_memory_cannot_be_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "STATM", "/no/such/{}")
    with pytest.raises(ConfigError, match="only on Linux"):
        isolation.from_settings({**NOTHING, "memory": "1GiB"})
