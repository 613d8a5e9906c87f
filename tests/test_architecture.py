"""The rules that keep the house, each seen to fail when it is broken."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

PLANTED = [
    ("lint-imports", "pipeline/running/runner.py", "import torch\n", "the core knows no stage, no framework"),
    ("lint-imports", "pipeline/planning/plan.py", "import stages.check\n", "the core knows no stage, no framework"),
    ("lint-imports", "stages/onnx/simplify.py", "import pipeline.store\n", "a stage knows the contract"),
    ("lint-imports", "stages/onnx/simplify.py", "import stages.check\n", "stages do not import each other"),
    ("lint-imports", "pipeline/errors.py", "import pipeline.running.runner\n", "the core's layers"),
    ("ruff check .", "pipeline/store/key.py", "import os\n", "F401"),
    ("mypy", "pipeline/store/key.py", "def untyped(x): return x\n", "no-untyped-def"),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("pipeline", "stages", "conf"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(("tool", "file", "planted", "told"), PLANTED, ids=[f"{p[0]}: {p[1]}: {p[2]}" for p in PLANTED])
def test_a_planted_violation_breaks_the_build(copy: Path, tool: str, file: str, planted: str, told: str) -> None:
    with (copy / file).open("a") as f:
        f.write(f"\n{planted}")
    command = f"{BIN}/{tool}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=copy, env={"PYTHONPATH": str(copy)}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    # A contract is named whether it holds or not, and a long name is wrapped.
    broken = f"{told}[^.]*? BROKEN" if tool == "lint-imports" else told
    assert re.search(broken, " ".join((done.stdout + done.stderr).split()))
