"""Artifacts of an earlier version are read, and reproduced; see tests/before_rooms/README.md."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from command_line import run_module

ROOT = Path(__file__).resolve().parent.parent
OLD = Path(__file__).parent / "before_rooms"
STAGES = ["load_weights", "set_eval", "record_reference", "capture_export", "export_onnx", "check", "simplify", "check"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "team"))


def run(folder: Path, command: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """In a new interpreter where another project than this is to be imported."""
    module, env = f"pipeline.{command}", {**os.environ, "DRYDOCK_STORE": str(folder / "store"), **env}
    if env.get("PYTHONPATH") == os.environ.get("PYTHONPATH"):
        return run_module(module, args, folder, env)
    anew = partial(subprocess.run, capture_output=True, text=True, timeout=600, check=False)
    return anew([sys.executable, "-m", module, *args], cwd=folder, env=env)


@pytest.mark.parametrize(
    "path", ["run/artifact/small.onnx", "run/artifact", "run/run.json", "conf/experiment/small.lock.json"]
)
def test_a_record_of_before_is_read_with_names_in_place_of_paths(folder: Path, path: str) -> None:
    done = run(folder, "inspect", path, "--json")
    record = json.loads(done.stdout)
    assert (done.returncode, record["changed"]) == (0, [])
    assert [s["stage"] for s in record["stages"]] == [*STAGES, "audit"]


@pytest.mark.slow
def test_a_lock_of_before_is_made_again_the_same(folder: Path) -> None:
    done = run(folder, "reproduce", "experiment=small")
    assert done.returncode == 0, done.stdout + done.stderr
    digest = json.loads((folder / "conf/experiment/small.lock.json").read_text())["record"]["digest"]
    assert done.stdout.endswith(f"experiment=small: identical, {digest}\n")


@pytest.mark.slow
def test_an_artifact_of_before_is_made_again_the_same_from_its_record(folder: Path) -> None:
    model = "run_ir/artifact/small_ir.xml"
    done = run(folder, "reproduce", model, "stages.load.weights=net.pth", DRYDOCK_TRUST="net")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{model}: identical, " in done.stdout


@pytest.mark.slow  # test_reproduce, and the words in pipeline/record/test_difference
def test_an_artifact_of_before_that_comes_out_otherwise_names_the_stage_and_its_file(folder: Path) -> None:
    project = folder / "project"
    for name in ("pipeline", "stages", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / name, project / name)
    with (project / "stages" / "onnx" / "file.py").open("a") as f:
        f.write("_stamp = stamp\ndef stamp(model, facts):\n    model.doc_string = 'mine'\n    _stamp(model, facts)\n")
    args = ("run/artifact/small.onnx", "stages.load.weights=net.pth")
    done = run(folder, "reproduce", *args, DRYDOCK_TRUST="net", PYTHONPATH=str(project))
    assert done.returncode == 5, done.stdout + done.stderr
    assert "differs first: export, by the code of export" in done.stdout
    assert "code: stages/onnx/export_onnx.py, or a file that it uses: the record is older" in done.stdout
