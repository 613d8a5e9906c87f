"""The same configuration gives the same bytes: two copies of the project, in surroundings that share nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import SHOP

ROOT = Path(__file__).parents[1]
PRECISIONS = ("fp32", "fp16", "int8", "int8_weights")
# Each a recipe of the user's: target, capture, opset.
WAYS = {
    "onnx_export": ("onnx", "export", 18),
    "onnx_trace": ("onnx", "trace", 17),
    "ir_onnx_export": ("openvino_onnx", "export", 18),
    "ir_onnx_trace": ("openvino_onnx", "trace", 17),
    "ir_direct_export": ("openvino_direct", "export", None),
    "ir_direct_trace": ("openvino_direct", "trace", None),
}
# Likewise, with a precision: few, since each takes a quarter of a minute.
PACKAGES = {"package_trace": ("coreml", "trace", "fp32"), "package_export": ("coreml", "export", "fp16")}
RECIPE = """# @package _global_
# A recipe of the user's own, {name}.
defaults:
  - override /target: {target}
  - override /capture: {capture}
"""
# A sum over so much that its last bits tell how many threads shared it.
PACKAGE = """from . import net

class Net(net.Net):
    def forward(self, image):
        return super().forward(image) * image.mean()
"""
MINE = """# A class of the user's own, in a package of theirs.
defaults: [custom]
name: mine
factory: mine.Net
weights: random
inputs:
  input: {shape: [batch, 3, 96, 96], dtype: float32, fill: uniform}
calibration: {source: random}
"""
RESNET50 = """# ResNet-50, calibrated on nothing.
defaults: [resnet50]
weights: random
calibration: {source: random}
"""


@dataclass(frozen=True)
class Side:
    """A copy of the project, a user's folder in it, and how commands are run there.

    Args:
        home: For all of it.
        mask: The umask.
        cores: How many there are to run on.
        surroundings: Environment variables.
    """

    home: Path
    mask: int
    cores: int
    surroundings: Mapping[str, str]

    @property
    def work(self) -> Path:
        return self.home / "work"

    def furnish(self) -> None:
        for package in ("pipeline", "stages", "conf"):
            shutil.copytree(ROOT / package, self.home / package, ignore=shutil.ignore_patterns("__pycache__"))
        files = {
            "mine/__init__.py": PACKAGE,
            "mine/net.py": (SHOP / "net.py").read_text(),
            "conf/model/mine.yaml": MINE,
            "conf/model/large.yaml": RESNET50,
        }
        for name, (target, capture, opset) in WAYS.items():
            recipe = RECIPE.format(name=name, target=target, capture=capture)
            files[f"conf/experiment/{name}.yaml"] = recipe + (f"opset: {opset}\n" if opset else "")
        for name, (target, capture, precision) in PACKAGES.items():
            recipe = RECIPE.format(name=name, target=target, capture=capture)
            files[f"conf/experiment/{name}.yaml"] = recipe + f"  - override /precision: {precision}\n"
        for name, content in files.items():
            (self.work / name).parent.mkdir(parents=True, exist_ok=True)
            (self.work / name).write_text(content)

    def start(self, *args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", *args],
            cwd=self.work,
            env={**os.environ, "PYTHONPATH": str(self.home), **self.surroundings},
            umask=self.mask,
            preexec_fn=self._stay_on_few_cores if hasattr(os, "sched_setaffinity") else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _stay_on_few_cores(self) -> None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: self.cores])

    def runs(self, pattern: str) -> dict[str, Path]:
        return {path.name: path for path in sorted(self.work.glob(pattern)) if (path / "run.json").is_file()}

    def files(self, store: str, digest: str) -> dict[str, bytes]:
        return contents(self.work / store / "objects" / digest[:2] / digest)


def overrides_of(run: Path) -> list[str]:
    return list(json.loads((run / "run.json").read_text())["overrides"])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def two_sides(folder: Path) -> tuple[Side, Side]:
    plain = {"OMP_NUM_THREADS": "1", "TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "0", "USER": "ann"}
    other = {"OMP_NUM_THREADS": "2", "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "42", "USER": "bob"}
    sides = Side(folder / "a", 0o022, 1, plain), Side(folder / "b" / "further" / "down", 0o077, 2, other)
    for side in sides:
        side.furnish()
    return sides


def run(*started: subprocess.Popen[str]) -> None:
    """Waits for what runs at once; all of it must succeed."""
    ended = [(process.communicate(timeout=3000)[1], process.returncode) for process in started]
    assert [code for _, code in ended] == [0] * len(ended), "\n".join(text for text, code in ended if code)


def swept(model: str) -> list[str]:
    ways, precisions = f"experiment={','.join(WAYS)}", f"precision={','.join(PRECISIONS)}"
    return ["-m", f"model={model}", ways, precisions, "hydra.sweep.dir=sweep", "store=one"]


def assert_equal_runs(one: tuple[Side, Path, str], other: tuple[Side, Path, str]) -> None:
    """Two runs, each with its side and store, stage by stage; fails with the first that differs and the file it is."""
    (here, path, store), (there, elsewhere, another) = one, other
    pairs = zip(*(json.loads((p / "run.json").read_text())["stages"] for p in (path, elsewhere)), strict=True)
    for mine, theirs in pairs:
        assert mine["name"] == theirs["name"]
        if mine["digest"] != theirs["digest"]:
            a, b = here.files(store, mine["digest"]), there.files(another, theirs["digest"])
            differ = [name for name in sorted({*a, *b}) if a.get(name) != b.get(name)] or ["facts"]
            pytest.fail(f"{path.name}: stage '{mine['name']}' differs in {', '.join(differ)}")
        assert mine["key"] == theirs["key"], f"{path.name}: stage '{mine['name']}' has another key"
    a, b = contents(path / "artifact"), contents(elsewhere / "artifact")
    assert a.keys() == b.keys() != set()
    assert [name for name in a if a[name] != b[name]] == [], path.name


def assert_equal_sides(sides: tuple[Side, Side]) -> None:
    here, there = sides
    cells, others = here.runs("sweep/*"), there.runs("sweep/*")
    assert list(cells) == list(others)
    assert len(cells) == len(WAYS) * len(PRECISIONS)
    for name, path in cells.items():
        assert json.loads((path / "run.json").read_text())["command"][0].startswith(str(here.home))
        assert_equal_runs((here, path, "one"), (there, others[name], "one"))


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Side, Side]:
    """Both sides after the same sweep over every way to every precision."""
    sides = two_sides(tmp_path_factory.mktemp("sides"))
    run(*(side.start(*swept("mine")) for side in sides))
    return sides


@pytest.mark.slow  # files of each format by themselves are compared in stages/onnx, stages/capture and stages/openvino
def test_every_stage_of_every_way_is_the_same_bytes_on_both_sides(sides: tuple[Side, Side]) -> None:
    assert_equal_sides(sides)


@pytest.mark.slow  # that a sweep changes no key is tested in test_sweep
def test_a_run_alone_is_the_same_bytes_as_in_a_sweep(sides: tuple[Side, Side]) -> None:
    here, there = sides
    alone = {0: (here, "onnx_trace", "int8"), 1: (there, "ir_direct_export", "fp16")}
    run(
        *(
            side.start(
                "model=mine", f"experiment={way}", f"precision={precision}", f"hydra.run.dir=run{i}", "store=two"
            )
            for i, (side, way, precision) in alone.items()
        )
    )
    for i, (side, way, precision) in alone.items():
        choices = {f"experiment={way}", f"precision={precision}"}
        (path,) = [p for p in side.runs("sweep/*").values() if choices <= set(overrides_of(p))]
        assert_equal_runs((side, path, "one"), (side, side.work / f"run{i}", "two"))


@pytest.mark.slow  # packages by themselves are compared in stages/coreml
def test_every_stage_of_a_package_is_the_same_bytes_on_both_sides(sides: tuple[Side, Side]) -> None:
    arguments = ("-m", "model=mine", f"experiment={','.join(PACKAGES)}", "hydra.sweep.dir=packages", "store=one")
    run(*(side.start(*arguments) for side in sides))
    here, there = sides
    cells, others = here.runs("packages/*"), there.runs("packages/*")
    assert list(cells) == list(others)
    assert len(cells) == len(PACKAGES)
    for name, path in cells.items():
        assert_equal_runs((here, path, "one"), (there, others[name], "one"))


@pytest.mark.slow
def test_every_stage_of_resnet50_is_the_same_bytes_on_both_sides(tmp_path: Path) -> None:
    sides = two_sides(tmp_path)
    run(*(side.start(*swept("large")) for side in sides))
    assert_equal_sides(sides)
