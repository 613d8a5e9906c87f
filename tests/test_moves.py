"""A key knows what the code does and not where it lies: files move for nothing, a changed line costs what uses it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import MODEL, SHOP

ROOT = Path(__file__).resolve().parent.parent
COMMAND = (*MODEL, "target=openvino", "opset=18")
STORED = ["reference", "capture", "export", "check_export", "simplify", "check_simplify", "compile", "check_compile"]
STORED += ["audit"]
# Where each stage of that graph lies, and where it is moved to.
MOVED = {
    "reference/record_reference": "reference/record_reference_of_a_module",
    "capture/capture_by_opset": "loading/capture_by_opset",
    "onnx/export_by_opset": "onnx/elsewhere/export",
    "checking/check": "checking/check_artifact",
    "onnx/simplify": "openvino/simplify",
    "openvino/compile_openvino": "openvino/compile",
    "checking/audit": "delivery/audit",
    "delivery/save": "delivery/hand_over",
    "loading/load_weights": "loading/weights_into_module",
}


class Project:
    """A copy of the project with a model beside it, and a store that one run has filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *args: str) -> str:
        env = {**os.environ, "PYTHONPATH": str(self.folder), "DRYDOCK_STORE": str(self.folder / "store")}
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *COMMAND, *args],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def misses(self) -> dict[str, str]:
        """The stages that a run would build, and why."""
        rows: list[tuple[str, str]] = re.findall(r"^(\w+) +miss *(.*)$", self.run("plan=true"), re.MULTILINE)
        return {name: why for name, why in rows if name in STORED}

    @contextmanager
    def edited(self, edits: Mapping[str, tuple[str, str]]) -> Iterator[None]:
        """Files below stages/ with one text in place of another, until the end of the block."""
        before = {self.folder / "stages" / file: (self.folder / "stages" / file).read_text() for file in edits}
        try:
            for (path, text), (old, new) in zip(before.items(), edits.values(), strict=True):
                assert old in text
                path.write_text(text.replace(old, new, 1))
            yield
        finally:
            for path, text in before.items():
                path.write_text(text)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("project") / "project"
    for name in ("pipeline", "stages", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(SHOP / "net.py", folder)
    state = "import torch; from net import Net; torch.manual_seed(0); torch.save(Net().state_dict(), 'net.pth')"
    subprocess.run([sys.executable, "-c", state], cwd=folder, check=True)
    Project(folder).run()
    return Project(folder)


@pytest.mark.slow
def test_a_warm_run_after_every_stages_file_moved_is_all_hits(project: Project, tmp_path: Path) -> None:
    moved = Project(Path(shutil.copytree(project.folder, tmp_path / "project")))
    stages = moved.folder / "stages"
    (stages / "onnx" / "elsewhere").mkdir()
    for old, new in MOVED.items():
        (stages / f"{old}.py").rename(stages / f"{new}.py")
    says = moved.run("output=again")
    assert re.search(r"^\d+ stages: \d+ from the store, 0 to build, 1 to deliver$", says, re.MULTILINE)
    assert [name for name in STORED if not re.search(rf"^{name} +hit", says, re.MULTILINE)] == []


REWORDED = {
    "onnx/file.py": ('"""', '"""In other words. '),
    "onnx/simplify.py": ("    def run(", "    # A comment.\n\n    def run("),
    "portable/comparison.py": ("def compare(", "\n\n\ndef compare("),
    "reference/parity.py": ("    cases: ", "    cases : "),
    "openvino/runtime.py": ("import annotations\n", "import (\n    annotations,\n)\n"),
}


@pytest.mark.slow  # pipeline/code/test_reading has each kind
def test_comments_docstrings_and_formatting_cost_nothing(project: Project) -> None:
    with project.edited(REWORDED):
        assert project.misses() == {}


# A line of a file, and the stages that use it: those whose keys differ, and not what only stands on their results.
CHANGES = {
    "openvino/runtime.py": ["check_compile"],
    "onnx/weightless.py": ["simplify"],
    "openvino/unconverted.py": ["compile"],  # what checks it waits for it
    "capture/script_file.py": ["capture"],
    "onnx/types.py": ["check_export", "check_simplify"],  # to name the layers that break a graph
    "openvino/types.py": ["check_compile", "audit"],
    "tensorrt/operators.json": [],
    "coreml/runtime.py": [],
}


QUICK = ("openvino/runtime.py", "onnx/types.py")
UNUSED = [file for file, stages in CHANGES.items() if not stages]


@pytest.mark.slow
@pytest.mark.parametrize("file", [f if f in QUICK else pytest.param(f, marks=pytest.mark.slow) for f in CHANGES])
def test_a_changed_line_costs_exactly_the_stages_that_use_it(project: Project, file: str) -> None:
    with project.edited({changed: line(changed) for changed in {file, *UNUSED}}):  # what is not used costs nothing
        misses = project.misses()
    assert {name for name, why in misses.items() if f"code: stages/{file}" in why} == {*CHANGES[file]}
    assert {name for name, why in misses.items() if "waits for" not in why} == {*CHANGES[file]}


def line(file: str) -> tuple[str, str]:
    """An old text and its replacement, which adds a line to a file."""
    return ("{", '{"X": 1, ') if file.endswith(".json") else ("import annotations\n", "import annotations\n_X = 1\n")
