"""Real engines on a real GPU: `make test-gpu`. Nowhere else has any of this run.

What it takes: an NVIDIA GPU with its driver, torch built for CUDA, and `pip install 'torch-drydock[tensorrt]'`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness import backend

from pipeline.errors import BackendMissing
from pipeline.machine import gpu

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", autouse=True)
def _host():
    backend("tensorrt")
    try:
        gpu.describe()
    except BackendMissing as e:
        pytest.fail(str(e))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a store of its own, shared by the engines here."""
    return tmp_path_factory.mktemp("gpu")


def converted(folder: Path, output: str, *overrides: str) -> dict:
    """run.json of a run that must succeed: built, checked against PyTorch, audited."""
    store = ("" if any(o.startswith("store=") for o in overrides) else f"store={folder / 'store'}",)
    overrides_ = [
        o for o in ("model=mobilenet_v3_small", "target=tensorrt", f"output={output}", *store, *overrides) if o
    ]
    command = [sys.executable, "-m", "pipeline", *overrides_]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("record ")]
    return json.loads(Path(line.split(maxsplit=1)[1]).read_text())


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_an_engine_of_each_precision_agrees_with_the_module_and_is_that_precision(folder, precision):
    run = converted(folder, precision, f"precision={precision}", "also=benchmark")
    stages = {s["name"]: s for s in run["stages"]}
    assert stages["audit"]["notes"]["audit"]["operations"]
    assert stages["benchmark"]["notes"]["benchmark"]["contenders"]["tensorrt"]["p50_ms"] > 0


@pytest.mark.parametrize(
    "setting",
    [
        "stages.compile.strip_weights=true",
        "stages.compile.weight_streaming=true",
        "stages.compile.version_compatible=true",
        "stages.compile.hardware_compatibility=ampere_plus",
        "stages.compile.verbosity=none",
        "target.profiles=[{batch: [1, 1, 1]}, {batch: [2, 8, 16]}]",
    ],
)
def test_an_engine_with_each_setting_loads_again_and_agrees(folder, setting):
    converted(folder, "setting", setting)


def test_a_second_build_uses_what_the_first_one_measured(folder):
    """In a store of its own, so that it does build; with the same cache it takes a part of the time."""
    seconds = []
    for number in (1, 2):
        cache = f"stages.compile.timing_cache={folder / 'timing'}"
        run = converted(folder, "timed", f"store={folder / f'store{number}'}", cache)
        seconds.append(next(s["seconds"] for s in run["stages"] if s["name"] == "compile"))
    (cache_,) = (folder / "timing").glob("*.timing")
    assert cache_.stat().st_size > 0
    print(f"first {seconds[0]:.1f} s, second {seconds[1]:.1f} s")


def test_the_script_of_a_bundle_builds_and_checks_the_engine(folder):
    converted(folder, "bundle", "target=tensorrt_bundle", "precision=fp16")
    shutil.copytree(folder / "bundle", folder / "elsewhere")
    command = [sys.executable, "build.py"]
    done = subprocess.run(command, cwd=folder / "elsewhere", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
