"""The rules that keep the house, each seen to fail when it is broken."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

# What is planted, and what is said of it: the contract that it breaks, or how the contract of the floors is broken.
PLANTED = [
    ("pipeline/running/runner.py", "import torch", "the core knows no stage, no framework and no converter BROKEN"),
    (
        "pipeline/report/page.py",
        "import matplotlib",
        "asked for by its charts alone BROKEN",
    ),
    ("pipeline/doctor.py", "import mlflow", "MLflow is asked for by the tracking alone BROKEN"),
    ("pipeline/errors.py", "import pipeline.artifact", "pipeline.errors is not allowed to import pipeline.artifact"),
    (
        "stages/onnx/simplify.py",
        "import pipeline.store",
        "the contract and nothing else of the core BROKEN",
    ),
    (
        "stages/checking/blame.py",
        "import stages.checking.check",
        "not allowed to import stages.checking.check: it is a stage",
    ),
    (
        "stages/portable/vendor_errors.py",
        "import onnx",
        "stages.portable.vendor_errors is not allowed to import onnx: it runs",
    ),
    (
        "stages/tensorrt/host/card.py",
        "import onnxruntime",
        "card is not allowed to import onnxruntime: it runs",
    ),
    ("stages/formats/session.py", "import stages.onnx.file", "stages.formats is not allowed to import stages.onnx"),
    (
        "stages/openvino/blob.py",
        "import stages.coreml.library",
        "openvino is not allowed to import stages.coreml",
    ),
    ("stages/loading/hub.py", "import stages.delivery.name", "stages.loading is not allowed to import stages.delivery"),
    ("stages/toy/convert.py", "import stages.tensorrt.profiles", "stages.toy is not allowed to import stages.tensorrt"),
    ("stages/attic/__init__.py", "", "not listed as layers: - stages.attic"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with a new format, a room that is on no floor, and everything planted."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("pipeline", "stages", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tests/contracts.py", "pyproject.toml"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in ("toy/__init__", "toy/format", "toy/convert", "attic/__init__"):
        (folder / "stages" / f"{name}.py").parent.mkdir(exist_ok=True)
        (folder / "stages" / f"{name}.py").write_text("")
    for file, line, _ in PLANTED:
        with (folder / file).open("a") as f:
            f.write(f"\n{line}\n")
    return folder


@pytest.fixture(scope="module")
def contracts(copy: Path) -> str:
    """The result of the import contracts, in one line."""
    return run(copy, "lint-imports")


def run(copy: Path, tool: str) -> str:
    done = subprocess.run(
        ["bash", "-c", f"{BIN}/{tool}"],
        cwd=copy,
        env={"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    return " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize(("file", "line", "message"), PLANTED, ids=[p[1] or p[0] for p in PLANTED])
def test_an_import_that_is_forbidden_is_said(contracts: str, file: str, line: str, message: str) -> None:
    assert message in contracts


@pytest.mark.slow  # `make test` itself runs both on all of it
def test_types_and_unused_imports_are_looked_at(copy: Path) -> None:
    with (copy / "pipeline" / "store" / "key.py").open("a") as f:
        f.write("\nimport os\ndef untyped(x): return x\n")
    with (copy / "stages" / "loading" / "set_eval.py").open("a") as f:
        f.write("\n\ndef misspelt(made: Artifact) -> Artifact:\n    return made.noting(sais='eval mode')\n")
    assert "F401" in run(copy, "ruff check .")
    output = run(copy, "mypy pipeline/store/key.py stages/loading/set_eval.py")
    assert "no-untyped-def" in output
    assert 'Unexpected keyword argument "sais"' in output
