"""coreml/host.py: the script that a Mac runs, with the reference evaluator in Core ML's place."""

from __future__ import annotations

import hashlib
import json
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest
from conversions import capture
from coreml_stages import compile_coreml
from handed_over import flip, recorded
from harness import BATCH, IMAGE, backend, reference_in, run_stage
from nets import TwoOutputs

from pipeline.errors import BACKEND_MISSING, CHECK_FAILED, OK, STAGE_FAILED, USAGE
from stages.coreml.host import UNITS
from stages.delivery.save import Save

ROOT = Path(__file__).parents[3]
# The script is run where coremltools is, and its packages are run by our evaluator, as none but a Mac runs them.
STAND_IN = f"""
import runpy, sys
sys.path[:0] = {[str(ROOT)]!r}
import coremltools

class MLModel:
    def __init__(self, path, compute_units):
        from pathlib import Path
        from stages.coreml.mil import read
        if compute_units.name not in offered:
            raise RuntimeError("no such unit on this Mac")
        self.program = read.read(Path(path))

    def predict(self, data):
        from stages.coreml.mil import evaluate
        return dict(evaluate.evaluate(self.program, data))

coremltools.models.MLModel = MLModel
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    backend("coremltools")
    folder = tmp_path_factory.mktemp("made")
    program = capture("trace", TwoOutputs(), folder, inputs=IMAGE, dims=BATCH)
    package = recorded(run_stage(compile_coreml(), program, folder / "package"), reference_in(folder), folder)
    bundle = folder / "bundle"
    run_stage(Save("net", True, None, None, None), {"artifact": package, "reference": reference_in(folder)}, bundle)
    files = {p.relative_to(bundle).as_posix(): p for p in bundle.rglob("*") if p.is_file()}
    hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    record = {**(package.record or {}), "digest": "0" * 64, "files": sorted(hashes), "sha256": hashes}
    (bundle / "artifact.json").write_text(json.dumps(record))
    return bundle


@pytest.fixture
def bundle(delivered: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(delivered, tmp_path / "bundle"))


def check(bundle: Path, *arguments: str, offered: tuple[str, ...] = UNITS) -> subprocess.CompletedProcess[str]:
    start = f"import sys; sys.argv[:1] = [{str(bundle / 'selfcheck.py')!r}]; offered = {offered!r}\n{STAND_IN}"
    command = [sys.executable, "-c", start, "--runs", "0", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def result(bundle: Path) -> dict[str, object]:
    report = json.loads((bundle / "selfcheck.json").read_text())
    assert isinstance(report, dict)
    return report


@pytest.mark.slow  # each start imports coremltools
def test_a_package_is_compared_on_each_unit_and_what_was_found_is_written(bundle: Path) -> None:
    done = check(bundle)
    assert done.returncode == OK, done.stderr
    assert (
        done.stdout.splitlines()[-1] == f"passed    it agrees with the PyTorch model at 4 shapes, on {', '.join(UNITS)}"
    )
    report = result(bundle)
    assert report["digest"] == "0" * 64
    assert [(r["device"], r["agrees"]) for r in report["results"]] == [(unit, True) for unit in UNITS]


@pytest.mark.slow  # each start imports coremltools
def test_a_unit_that_there_is_not_ends_with_its_words_and_the_others_are_compared(bundle: Path) -> None:
    done = check(bundle, offered=UNITS[:1])
    assert done.returncode == STAGE_FAILED
    assert "no such unit on this Mac" in done.stderr
    assert [r["agrees"] for r in result(bundle)["results"]] == [True, False, False, False]


@pytest.mark.slow  # each start imports coremltools
def test_a_changed_weight_is_found_by_the_answers_too(bundle: Path) -> None:
    flip(next(bundle.glob("net.mlpackage/**/weight.bin")))
    assert "is not what was delivered" in check(bundle).stderr
    record = json.loads((bundle / "artifact.json").read_text())
    changed = {n: hashlib.sha256((bundle / n).read_bytes()).hexdigest() for n in record["sha256"]}
    (bundle / "artifact.json").write_text(json.dumps({**record, "sha256": changed}))
    weights = next(bundle.glob("net.mlpackage/**/weight.bin"))
    content = bytearray(weights.read_bytes())
    content[-4:] = b"\x00\x00\x80\x42"
    weights.write_bytes(content)
    changed[weights.relative_to(bundle).as_posix()] = hashlib.sha256(content).hexdigest()
    (bundle / "artifact.json").write_text(json.dumps({**record, "sha256": changed}))
    done = check(bundle, "--device", "CPU_ONLY")
    assert done.returncode == CHECK_FAILED
    assert [r["agrees"] for r in result(bundle)["results"]] == [False]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--device", "GPU"], USAGE, "--device is GPU\n  allowed: CPU_ONLY"),
        (["--compute", "float16"], USAGE, "a package computes in its own types, float32"),
    ],
)
def test_what_core_ml_does_not_offer_is_refused(bundle: Path, arguments: list[str], code: int, words: str) -> None:
    done = check(bundle, *arguments)
    assert done.returncode == code
    assert words in done.stderr


def test_without_coremltools_it_says_what_to_install(bundle: Path) -> None:
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {site.getsitepackages()[0]!r}); "
        "sys.modules['coremltools'] = None; import runpy; sys.argv = ['x']; "
        f"runpy.run_path({str(bundle / 'selfcheck.py')!r}, run_name='__main__')",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == BACKEND_MISSING
    assert "pip install coremltools" in done.stderr
