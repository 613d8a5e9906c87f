"""delivery/bundle.py: what is handed over is checked where there is nothing but numpy and the runtime."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import conversions
import harness
import numpy as np
import onnx
import pytest
from handed_over import change_answer, device, flip, python, recorded, signed
from harness import BATCH, IMAGE, backend, run_stage, skip_unless_bfloat16
from onnx import numpy_helper

from pipeline import formats
from pipeline.artifact import Artifact
from pipeline.errors import BACKEND_MISSING, CHECK_FAILED, OK, STAGE_FAILED, USAGE, StageError
from stages.capture.capture_trace import CaptureTrace
from stages.delivery import bundle as bundles
from stages.delivery.save import Save
from stages.interface.edits import Images
from stages.interface.images import Preprocessing
from stages.onnx.format import ONNX
from stages.openvino.compile_blob import CompileBlob
from stages.openvino.format import OPENVINO, OPENVINO_BLOB
from stages.reference.record_reference import RecordReference

RUNTIMES = {ONNX: "onnxruntime", OPENVINO: "openvino", OPENVINO_BLOB: "openvino"}
PHOTOGRAPHS = Preprocessing(resize=36, mean=[0.5], std=[0.25])


def bundle(artifact: Artifact, reference: Artifact, folder: Path, **settings) -> Path:
    """What the user is handed."""
    stage = Save(**{"name": "net", "bundle": True, "license": None, "labels": None, "preprocessing": None, **settings})
    run_stage(stage, {"artifact": artifact, "reference": reference}, folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    (folder / "artifact.json").write_text(json.dumps(artifact.record))
    signed(folder)
    return folder


@pytest.fixture(scope="module", params=RUNTIMES)
def checked_artifact(request, graph, reference, tmp_path_factory) -> Artifact:
    """A checked artifact of each kind."""
    backend("openvino")
    folder = tmp_path_factory.mktemp("made")
    artifact = graph if request.param == ONNX else request.getfixturevalue("ir")
    if request.param == OPENVINO_BLOB:
        artifact = run_stage(CompileBlob("CPU", "float32", {}, []), artifact, folder / "blob")
    return recorded(artifact, reference, folder)


@pytest.fixture
def whole(checked_artifact, reference, tmp_path) -> Path:
    return bundle(checked_artifact, reference, tmp_path / "bundle")


def check(folder: Path, *arguments: str, modules=None) -> subprocess.CompletedProcess[str]:
    """Runs the self-check on such a device."""
    kind = json.loads((folder / "artifact.json").read_text())["kind"]
    place = device(folder.parent / "device", *(("numpy", RUNTIMES[kind]) if modules is None else modules))
    script = folder / "selfcheck.py"
    run = f"import runpy; sys.argv[0] = {str(script)!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
    done = python(place, run, *arguments)
    assert "Traceback" not in done.stderr
    return done


def test_a_device_has_no_pytorch_and_none_of_ours(tmp_path):
    place = device(tmp_path / "device", "numpy", "onnxruntime")
    assert python(place, "import numpy, onnxruntime").returncode == 0
    for module in ("torch", "onnx", "pipeline", "stages"):
        assert f"No module named '{module}'" in python(place, f"import {module}").stderr


def test_a_whole_bundle_passes_and_says_parity_and_latency(whole):
    done = check(whole, "--runs", "3", "--threads", "1")
    assert (done.returncode, done.stderr) == (OK, "")
    assert re.findall(r"^(\w+)  (\w+) +\d\.\de-\d\d  \d\.\de-\d\d  1\.000000  1\.000$", done.stdout, re.M) == [
        ("example", "2x3x32x32"),
        ("min", "1x3x32x32"),
        ("odd", "3x3x32x32"),
        ("max", "8x3x32x32"),
    ]
    assert "computes in float32\n" in done.stdout
    assert "UNTRAINED" in done.stdout
    assert re.search(r"^latency   p50 \S+ ms, p90 \S+ ms at 2x3x32x32, of 3 runs$", done.stdout, re.M)
    assert done.stdout.endswith("passed    it agrees with the PyTorch model at 4 shapes\n")


def change_weight(folder: Path) -> None:
    """Changes one weight of the model by one."""
    if (weights := folder / "net.bin").exists():
        values = np.fromfile(weights, np.float32)
        values[5] += 1
        values.tofile(weights)
        return
    model = onnx.load(folder / "net.onnx")
    weight = next(i for i in model.graph.initializer if i.name == "head.weight")
    values = numpy_helper.to_array(weight) + np.float32(1) * (np.arange(40).reshape(10, 4) == 5)
    weight.CopyFrom(numpy_helper.from_array(values.astype(np.float32), weight.name))
    onnx.save(model, folder / "net.onnx")


DAMAGE = {
    "artifact": lambda folder: flip(
        next(folder / n for n in ("net.blob", "net.bin", "net.onnx") if (folder / n).exists())
    ),
    "answer": lambda folder: change_answer(folder / "reference.npz"),
    "script": lambda folder: (folder / "selfcheck.py").open("a").write("\n"),
    "gone": lambda folder: (folder / "reference.npz").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_is_not_the_one_delivered_is_named(whole, damage):
    before = harness.contents(whole)
    DAMAGE[damage](whole)
    (changed,) = [n for n, digest in before.items() if harness.contents(whole).get(n) != digest]
    done = check(whole)
    assert done.returncode == CHECK_FAILED
    assert re.search(rf"^  {changed} (is not what was delivered|cannot be read)", done.stderr, re.M)
    assert "example" not in done.stdout, "what is damaged is not run"


def test_an_answer_that_changed_with_its_sum_is_found_at_its_shape(whole):
    change_answer(whole / "reference.npz")
    signed(whole)
    done = check(whole, "--runs", "0")
    assert done.returncode == CHECK_FAILED
    assert re.findall(r"^  (.*): output 'logits' max_rel", done.stderr, re.M) == ["odd (3x3x32x32)"]


@pytest.mark.parametrize("checked_artifact", [ONNX, OPENVINO], indirect=True)
def test_a_weight_that_changed_with_its_sum_is_found_at_every_shape(whole):
    change_weight(whole)
    signed(whole)
    done = check(whole, "--runs", "0")
    assert done.returncode == CHECK_FAILED
    assert len(re.findall(r"^  \w+ \(\dx3x32x32\): output 'logits' max_rel", done.stderr, re.M)) == 4


def test_another_precision_than_the_one_that_was_checked_fails(whole):
    done = check(whole, "--compute", "bfloat16", "--runs", "0")
    assert done.returncode == CHECK_FAILED
    not_had = "asked to compute in bfloat16, the runtime computes in float32"
    not_checked = "the runtime computes in bfloat16; it was checked computing in float32"
    assert {not_had, not_checked} & set(map(str.strip, done.stderr.splitlines()))


@pytest.mark.parametrize("checked_artifact", [OPENVINO, OPENVINO_BLOB], indirect=True)
def test_what_an_application_gets_that_asks_for_nothing_is_told(whole):
    skip_unless_bfloat16()
    done = check(whole, "--compute", "default", "--runs", "0")
    assert done.returncode == CHECK_FAILED
    assert "the runtime computes in bfloat16; it was checked computing in float32" in done.stderr


@pytest.mark.parametrize("checked_artifact", [ONNX], indirect=True)
def test_a_graph_computes_in_its_own_types_whatever_is_said(whole):
    assert check(whole, "--compute", "default", "--runs", "0").returncode == OK


@pytest.mark.parametrize("modules", [("numpy",), ()])
def test_what_is_not_installed_is_named(whole, checked_artifact, modules):
    done = check(whole, modules=modules)
    assert done.returncode == BACKEND_MISSING
    missing = RUNTIMES[checked_artifact.kind] if modules else "numpy"
    assert f"{missing} is not installed" in done.stderr
    assert f"python -m pip install {missing}" in done.stderr


@pytest.mark.parametrize("checked_artifact", [ONNX], indirect=True)
@pytest.mark.parametrize("arguments", [["--compute", "fp16"], ["--runs", "-1"], ["--treads", "2"], ["net.onnx"]])
def test_a_wrong_flag_is_wrong_usage(whole, arguments):
    done = check(whole, *arguments, modules=())
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert "usage: selfcheck.py" in done.stderr


def test_a_device_that_is_not_there_is_told_with_those_that_are(whole):
    done = check(whole, "--device", "TPU")
    assert done.returncode == STAGE_FAILED
    assert re.search(r"TPU.*\n.*CPU", done.stderr)


def test_an_extension_that_cannot_be_loaded_is_told(whole):
    done = check(whole, "--extension", "nowhere.so")
    assert done.returncode == STAGE_FAILED
    assert "nowhere.so" in done.stderr


def spoil(whole, **changes):
    path = whole / "artifact.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("checked_artifact", [ONNX], indirect=True)
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"checks": []}, "has no check that this script can repeat"),
        ({"kind": "coreml"}, "has no check that this script can repeat"),
        ({"sha256": []}, "cannot be checked: AttributeError"),
    ],
)
def test_a_record_that_says_too_little_is_told(whole, changes, says):
    place = device(whole.parent / "device", "numpy")
    spoil(whole, **changes)
    run = f"import runpy; runpy.run_path({str(whole / 'selfcheck.py')!r}, run_name='__main__')"
    done = python(place, run)
    assert (done.returncode, says in done.stderr, "Traceback" in done.stderr) == (STAGE_FAILED, True, False)


@pytest.mark.parametrize("checked_artifact", [OPENVINO_BLOB], indirect=True)
def test_a_blob_that_does_not_fit_is_told_with_what_it_is_for_and_what_runs_anywhere(whole):
    (whole / "net.blob").write_bytes((whole / "net.bin").read_bytes())
    signed(whole)
    done = check(whole)
    assert done.returncode == STAGE_FAILED
    assert re.search(
        r"this blob does not fit: .*\n  it was made by OpenVINO .*\n.*\n  the \.xml beside it", done.stderr
    )


def test_an_edited_artifact_is_asked_in_its_own_names_types_and_layouts(program, reference, tmp_path):
    backend("openvino")
    edits = {"names": {"input": "picture", "logits": "scores"}, "layouts": {"input": "NCHW->NHWC"}}
    ir = conversions.ir(program, tmp_path / "ir", **edits)
    whole = bundle(recorded(ir, reference, tmp_path), reference, tmp_path / "bundle")
    done = check(whole, "--runs", "0")
    assert (done.returncode, done.stderr) == (OK, "")
    assert "max  8x32x32x3" in done.stdout
    assert "| input | `picture` | batchx32x32x3 | float32 |" in (whole / "README.md").read_text()


def test_photographs_go_in_as_they_are_where_the_preprocessing_is_compiled_in(tiny, tmp_path):
    backend("openvino")
    stage = RecordReference(IMAGE, BATCH, ["logits"], None, PHOTOGRAPHS, True, None, [], 0, "quick", None, 16)
    reference = run_stage(stage, tiny, tmp_path / "reference")
    traced = run_stage(CaptureTrace(), {"module": tiny, "reference": reference}, tmp_path / "traced")
    ir = conversions.ir(traced, tmp_path / "ir", preprocessing=PHOTOGRAPHS, images=Images(color="BGR"))
    checked = recorded(ir, reference, tmp_path, precision="fp32_raw_images")
    whole = bundle(checked, reference, tmp_path / "bundle", preprocessing=PHOTOGRAPHS)
    done = check(whole, "--runs", "1")
    assert (done.returncode, done.stderr) == (OK, "")
    assert "1x301x199x3" in done.stdout
    assert "it takes raw BGR photographs, uint8, NHWC, of any size" in (whole / "README.md").read_text()


def test_what_nothing_could_answer_for_is_run_and_called_not_checked(checked_artifact, reference, tmp_path):
    claim = {"against": "the frozen graph", "why": "tensorflow is not installed", "shapes": ["2x3x32x32"]}
    unchecked = replace(
        checked_artifact,
        record={
            **checked_artifact.record,
            "checks": [{"stage": "check", "of": "x", "delivered": True, "unchecked": claim}],
        },
    )
    done = check(bundle(unchecked, reference, tmp_path / "bundle"), "--runs", "0")
    assert done.returncode == OK
    assert "NOT CHECKED against the frozen graph: tensorflow is not installed. It runs at 4 shapes" in done.stdout


@pytest.mark.parametrize("kind", sorted(formats.kinds("host")))
def test_the_script_is_one_file_that_imports_nothing_of_ours(kind):
    text = bundles.script_for(Artifact(kind))
    tree = ast.parse(text, feature_version=(3, 10))
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {n.module if isinstance(n, ast.ImportFrom) else a.name for n in imports for a in n.names}
    assert {n.partition(".")[0] for n in names} <= {*sys.stdlib_module_names, "numpy"}
    assert text == bundles.script_for(Artifact(kind))
    assert text.count("\nfrom __future__ import annotations\n") == 1
    assert text.count("def compared(" if not formats.format_of(kind).generation else "def agreement(") == 1


def test_equal_references_give_equal_bytes(graph, reference, tmp_path):
    cases = bundles.cases(graph, reference)
    for name in "ab":
        bundles.write_cases(cases, tmp_path / f"{name}.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {i.date_time for i in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_graph_that_no_cpu_runs_gets_no_self_check(graph, reference, tmp_path):
    narrow = recorded(graph, reference, tmp_path)
    narrow = replace(narrow, facts={**narrow.facts, "storage": "bfloat16"})
    with pytest.raises(StageError, match="no kernels for bfloat16"):
        bundle(narrow, reference, tmp_path / "bundle")


def test_the_readme_says_what_there_is_to_know(checked_artifact, reference, tmp_path):
    kind = checked_artifact.kind
    names = [f"class {i}" for i in range(10)]
    folder = bundle(
        checked_artifact, reference, tmp_path / "bundle", license="MIT", labels=names, preprocessing=PHOTOGRAPHS
    )
    text = (folder / "README.md").read_text()
    assert "**UNTRAINED**" in text
    for line in (
        *(
            [f"| only for | OpenVINO {checked_artifact.facts['blob']['openvino']} for CPU '"]
            if "blob" in checked_artifact.facts
            else []
        ),
        f"| file | `net{Path(kind.file).suffix}`, {kind}{', opset 18' if kind == ONNX else ''} |",
        "| precision | fp32; computes in float32 |",
        "| licence | MIT |",
        "| input | `input` | batchx3x32x32 | float32 |",
        "| output | `logits` | batchx10 | float32 |",
        "Dynamic dimensions: `batch` 1 to 8.",
        "`labels.txt` names the 10 scores, a line each, in order.",
        "RGB, NCHW; `(pixels / 255 - [0.5]) / [0.25]`.",
        "It agrees with the PyTorch model at 2x3x32x32, 1x3x32x32, 3x3x32x32, 8x3x32x32: max_rel 0.0001",
    ):
        assert line in text
    assert (folder / "labels.txt").read_text().splitlines() == names


def test_the_readme_says_what_nobody_stated(checked_artifact, reference, tmp_path):
    trained = replace(
        checked_artifact, facts={**checked_artifact.facts, "weights": {"trained": True, "says": "from a file"}}
    )
    text = (bundle(trained, reference, tmp_path / "bundle") / "README.md").read_text()
    assert "UNTRAINED" not in text
    for line in ("| weights | from a file |", "| licence | not stated |", "Labels: not stated.", "Not stated: inputs"):
        assert line in text


def test_the_readmes_own_lines_load_and_run_it(whole, checked_artifact):
    (code,) = re.findall(r"```python\n(.*?)```", (whole / "README.md").read_text(), re.S)
    place = device(whole.parent / "device", "numpy", RUNTIMES[checked_artifact.kind])
    script = (
        f"import os; os.chdir({str(whole)!r}); exec(sys.argv[1]); print({{n: v.shape for n, v in outputs.items()}})"
    )
    done = python(place, script, code)
    assert done.stdout == "{'logits': (2, 10)}\n", done.stderr
