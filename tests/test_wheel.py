"""The wheel: complete, and at work from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pipeline.code import closure

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel, and nothing else of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, check=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def run(installed: Path, *args: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run([sys.executable, *args], cwd="/", env=env, capture_output=True, text=True, check=False)


def test_it_is_the_wheel_that_is_imported(installed: Path) -> None:
    done = run(installed, "-c", "import pipeline.config.compose as c, stages; print(c.CONF, stages.__path__[0])")
    assert done.stdout.split() == [str(installed / "pipeline" / "conf"), str(installed / "stages")]


@pytest.mark.parametrize(
    "target", ["openvino", *(pytest.param(t, marks=pytest.mark.slow) for t in ("onnx", "tensorrt_bundle"))]
)
def test_it_composes_every_target_from_any_folder(installed: Path, target: str) -> None:
    done = run(installed, "-m", "pipeline", f"target={target}", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert f"name: {target}" in done.stdout


@pytest.mark.parametrize("table", ["loading/torchvision_weights.json", "tensorrt/operators.json"])
def test_it_carries_the_tables_of_what_others_publish(installed: Path, table: str) -> None:
    assert (installed / "stages" / table).is_file()


@pytest.mark.parametrize("package", ["pipeline", "stages"])
def test_it_says_that_its_types_may_be_used(installed: Path, package: str) -> None:
    assert (installed / package / "py.typed").is_file()


def test_it_brings_what_its_code_is_so_that_no_file_is_parsed(installed: Path) -> None:
    code = (
        "from pipeline.code import closure, index, reading; reading.read = None; "
        "print(index.here().root, closure.digest('stages.onnx.simplify', ['onnx']))"
    )
    done = run(installed, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(installed / "stages"), closure.digest("stages.onnx.simplify", ["onnx"])]


def test_the_console_script_names_the_same_program(installed: Path) -> None:
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "torch-drydock = torch_drydock:main" in entry_points.read_text()


@pytest.mark.parametrize(
    ("typed", "says"),
    [([], "torch-drydock --help has the rest"), (["report", "--help"], "usage: torch-drydock report ")],
)
def test_the_console_script_has_the_other_commands_and_by_itself_says_what_there_is(
    installed: Path, typed: list[str], says: str
) -> None:
    done = run(installed, "-m", "torch_drydock", *typed)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout


def test_it_has_what_the_report_is_drawn_with(installed: Path) -> None:
    assert {"page.css", "page.js"} < {p.name for p in (installed / "pipeline" / "report").iterdir()}
