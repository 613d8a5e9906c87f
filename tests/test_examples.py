"""The READMEs' commands, run as they stand: each example's, in a copy of its folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted(p.parent for p in (ROOT / "examples").glob("[0-9]*/README.md"))


def commands(readme: Path) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", readme.read_text(), re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def environment(folder: Path) -> dict[str, str]:
    """This interpreter as `python`, a store and a cache of its own, nothing of the caller's configuration."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "DRYDOCK_STORE": str(folder / "store"), "TORCH_HOME": str(folder / "torch")}


def run(command: str, folder: Path, store: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment(store), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done


def test_the_glob_found_the_examples() -> None:
    assert len(EXAMPLES) >= 2


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.name)
def test_every_command_of_an_example_works(example: Path, tmp_path: Path) -> None:
    folder = tmp_path / example.name
    shutil.copytree(example, folder)
    for command in commands(example / "README.md"):
        run(command, folder, tmp_path)


def test_the_delivered_ir_predicts_where_only_openvino_and_numpy_can_be_imported(tmp_path: Path) -> None:
    example = ROOT / "examples" / "01_resnet50_openvino"
    convert = "python -m pipeline model=mobilenet_v3_small model.weights=random output=out"
    run(convert, tmp_path, tmp_path)
    # -S -I leaves out site-packages; a folder with links to what may be imported takes their place.
    alone = tmp_path / "alone"
    alone.mkdir()
    for package in ("openvino", "numpy", "numpy.libs"):
        (alone / package).symlink_to(next(Path(p) / package for p in sys.path if (Path(p) / package).exists()))
    predict = f"sys.path.insert(0, '{alone}'); runpy.run_path('{example / 'predict.py'}', run_name='__main__')"
    model = tmp_path / "out" / "mobilenet_v3_small.xml"
    command = [sys.executable, "-S", "-I", "-c", f"import runpy, sys; {predict}", str(model)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "input [1..8,3,224,224]" in done.stdout
    assert len(done.stdout.split("classes")[1].split()) == 3


def test_the_documents_name_only_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documents = "".join((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))
    named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", documents, re.MULTILINE))
    assert {"run", "test", "bench"} <= named <= targets
