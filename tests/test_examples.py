"""The READMEs' commands, run as they stand: each example's, in a copy of its folder."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import run_readme

ROOT = Path(__file__).resolve().parent.parent
# What the commands of 05_int8_digits leave is looked into by test_accuracy, which runs them too.
EXAMPLES = sorted(p.parent.name for p in (ROOT / "examples").glob("[0-9]*/README.md") if "digits" not in p.parent.name)


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Runs the commands of an example, once; the copy of its folder that they worked in."""
    folders: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in folders:
            home = tmp_path_factory.mktemp(name)
            shutil.copytree(ROOT / "examples" / name, home / name)
            run_readme(home / name / "README.md", home / name, home / "store")
            folders[name] = home / name
        return folders[name]

    return run


def test_the_glob_found_the_examples() -> None:
    assert len(EXAMPLES) >= 2


# What these show is tested on smaller models: an IR after this, text in test_models, photographs in stages/interface,
# pinning and handing over in test_reproduce and stages/delivery, packages in test_cli and stages/coreml, bundles for
# TensorRT in stages/delivery.
LONG = (
    "01_resnet50_openvino",
    "02_your_own_model",
    "03_text_classifier",
    "04_photographs_in",
    "06_hand_over",
    "07_coreml",
    "08_tensorrt_bundle",
    "09_language_model",
)
MARKED = [pytest.param(e, marks=pytest.mark.slow) if e in LONG else e for e in EXAMPLES]


@pytest.mark.parametrize("example", MARKED)
def test_every_command_of_an_example_works(example: str, tried: Callable[[str], Path]) -> None:
    assert tried(example).is_dir()


def where_openvino_and_numpy_are_alone(code: str, model: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    # -S -I leaves out site-packages; a folder with links to what may be imported takes their place.
    alone = folder / "alone"
    alone.mkdir()
    for package in ("openvino", "numpy", "numpy.libs"):
        (alone / package).symlink_to(next(Path(p) / package for p in sys.path if (Path(p) / package).exists()))
    command = [sys.executable, "-S", "-I", "-c", f"import sys; sys.path.insert(0, '{alone}'); {code}", str(model)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_delivered_ir_answers_where_only_openvino_and_numpy_can_be_imported(
    tried: Callable[[str], Path], tmp_path: Path
) -> None:
    (model,) = (tried("02_your_own_model") / "build" / "digits_openvino").glob("*.xml")
    code = "import numpy, openvino; model = openvino.compile_model(sys.argv[1]); "
    code += "(shape,) = (i.partial_shape.get_min_shape() for i in model.inputs); "
    code += "print(*(v.shape for v in model(numpy.zeros(tuple(shape), numpy.float32)).values()))"
    done = where_openvino_and_numpy_are_alone(code, model, tmp_path)
    assert (done.returncode, done.stdout) == (0, "(1, 10)\n"), done.stderr


@pytest.mark.slow  # of a smaller model before this
def test_the_delivered_ir_predicts_where_only_openvino_and_numpy_can_be_imported(
    tried: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tried("01_resnet50_openvino")
    predict = f"import runpy; runpy.run_path('{folder / 'predict.py'}', run_name='__main__')"
    done = where_openvino_and_numpy_are_alone(predict, folder / "build" / "resnet50" / "resnet50.xml", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "input [1..8,3,224,224]" in done.stdout
    assert len(done.stdout.split("classes")[1].split()) == 3


def test_the_documents_name_only_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documents = "".join((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))
    targets_ = set(re.findall(r"(?:^    |`)make ([a-z-]+)", documents, re.MULTILINE))
    assert {"run", "test", "bench"} <= targets_ <= targets
