"""Stages that crash, hang or exhaust their process like native compilers, in a module that the worker can import."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import CheckFailed, Problem, StageError
from pipeline.stage import Stage
from stages.onnx import file as onnx_file
from stages.onnx import pieces
from stages.onnx.format import ONNX
from stages.openvino.format import OPENVINO


class Unpicklable(Exception):
    """An error that cannot be built again from its message, as many vendors' errors."""

    def __init__(self, code: int, handle: Any) -> None:
        super().__init__(f"code {code}")
        self.handle = handle


@dataclass(frozen=True)
class Isolated(Stage):
    """Calls a function, then writes its process number.

    Args:
        doing: The name of a function of this module, and its arguments after the folder.
    """

    doing: str = "nothing"

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"model": frozenset({ONNX})}
    produces: ClassVar[Kind | str] = OPENVINO
    isolable: ClassVar[bool] = True

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        globals()[self.doing](folder)
        (folder / OPENVINO.file).write_text(inputs["model"].file.read_text())
        facts = {"live": inputs["model"].live is not None, "env": os.environ.get("DRYDOCK_TEST", "")}
        return Artifact(OPENVINO, folder, facts={"by": "isolated"}, notes={"pid": os.getpid(), **facts})


def leaves_a_temporary_folder(folder: Path) -> None:
    """As coremltools, which removes it when the process ends."""
    begun = subprocess.run([sys.executable, "-c", "import tempfile; print(tempfile.mkdtemp())"], stdout=subprocess.PIPE)
    (folder / "left").write_text(f"{tempfile.mkdtemp()}\n{begun.stdout.decode()}")


@dataclass(frozen=True)
class AsksWhatItIsMadeOf(Isolated):
    """Opens its input's source, as a check that compares layers does."""

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"model": frozenset({OPENVINO})}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        origin = inputs["model"].origin
        assert origin is not None
        assert origin.source is not None
        try:
            facts = origin.source().file.read_text()
        except StageError as e:
            facts = str(e)
        return inputs["model"].noting(stage=origin.stage, source=facts, pid=os.getpid())


@dataclass(frozen=True)
class DiesOf(Stage):
    """Crashes at a graph with a certain operator, as OpenVINO's reader did at STFT.

    Args:
        operator: The operator.
    """

    operator: str

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"program": frozenset({ONNX})}
    produces: ClassVar[Kind | str] = ONNX
    isolable: ClassVar[bool] = True

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        if any(node.op_type == self.operator for node in onnx_file.read(inputs["program"].file).graph.node):
            segfault(folder)
        return inputs["program"]

    def parts(
        self, inputs: Mapping[str, Artifact], folder: Path
    ) -> Iterator[tuple[str, Stage, Mapping[str, Artifact]]]:
        for name, path in pieces.split(inputs["program"].file, folder):
            yield name, self, {"program": Artifact(ONNX, path.parent)}


@dataclass(frozen=True)
class AsksBackToTheFirst(AsksWhatItIsMadeOf):
    """Follows the origins back to the first stage, as a check that compares with the module does."""

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        facts, source = [], inputs["model"]
        while source.origin is not None and source.origin.source is not None:
            stage, source = source.origin.stage, source.origin.source()
            facts.append([stage, str(source.kind), source.live])
        return inputs["model"].noting(origins=facts, last=source.origin and source.origin.stage, pid=os.getpid())


def nothing(folder: Path) -> None:
    pass


def segfault(folder: Path) -> None:
    (folder / "half").mkdir()
    (folder / "half" / "written").write_text("")
    os.kill(os.getpid(), signal.SIGSEGV)


def killed(folder: Path) -> None:
    Path(tempfile.mkdtemp(), "model").write_text("large")
    os.kill(os.getpid(), signal.SIGKILL)


def leave(folder: Path) -> None:
    print("no licence", file=sys.stderr, flush=True)
    os._exit(3)


def hang(folder: Path) -> None:
    while True:
        signal.pause()


def hang_with_a_child(folder: Path) -> None:
    """Writes the process numbers of itself and of its child beside the store."""
    child = subprocess.Popen(["sleep", "600"])
    path = folder.parents[2] / "pids"
    path.with_suffix(".tmp").write_text(f"{os.getpid()} {child.pid}")
    path.with_suffix(".tmp").rename(path)  # whole, or not there yet
    child.wait()


def grow(folder: Path) -> None:
    blocks = []
    while True:
        blocks.append(bytearray(os.urandom(1)) * 2**24)
        time.sleep(0.01)


def only_once(folder: Path, calls: list[int] = []) -> None:  # noqa: B006
    """Crashes in every process except a new one."""
    calls.append(0)
    if len(calls) > 1:
        segfault(folder)


def unpicklable(folder: Path) -> None:
    raise Unpicklable(7, lambda: None)


def exits(folder: Path) -> None:
    sys.exit("a library that thinks that it is the program")


def check(folder: Path) -> None:
    raise CheckFailed([Problem("worst error is 1.0", "0.1", "precision=fp32"), Problem("and NaN")])


def talk(folder: Path) -> None:
    try:
        raise ValueError("minus 40")
    except ValueError:
        logging.getLogger("stages.misbehaving").warning("it is %s", "cold", exc_info=True)
    print("said on stdout")
    os.write(2, b"said on stderr\n")
