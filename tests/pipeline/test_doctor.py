"""The doctor, in real runs: on this machine, on one with every ailment, and where nothing can be examined at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from harness import backend

from pipeline import doctor
from pipeline.errors import DrydockError
from pipeline.machine import backends, gpu
from pipeline.machine.installed import requirements
from pipeline.terminal import console
from tests.pipeline.conftest import raising
from tests.test_architecture import ROOT

HEAVY = "{'torch', 'torchvision', 'numpy', 'onnx', 'onnxruntime', 'onnxsim', 'onnxscript', 'openvino', 'nncf', 'timm'}"
# As a run of the module, and then what it has imported.
LISTING = f"""
import sys
from pipeline.doctor import main
try:
    code = main(print)
except SystemExit as e:
    code = e.code
print(code, sorted({HEAVY} & set(sys.modules)), file=sys.stderr)
"""
# What takes long to import and plays no part.
LIGHT = ("nncf", "timm", "transformers", "torchvision", "onnxscript", "onnxsim")
COREML = ("coremltools", "coremltools/libmilstoragepython", "coremltools/libmodelpackage")


def run(folder: Path, *args: str, python: tuple[str, ...] = ("-m", "pipeline.doctor")) -> subprocess.CompletedProcess:
    path = f"{folder / 'packages'}{os.pathsep}{os.environ.get('PYTHONPATH') or ROOT}"
    command = [sys.executable, *python, f"store={folder / 'store'}", *args]
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=600)
    assert "Traceback" not in done.stdout + done.stderr
    return done


def examined(overrides: list[str]) -> int:
    try:
        return doctor.main(print, overrides)
    except DrydockError as e:
        return console.show(e)


def package(folder: Path, name: str, source: str = "") -> None:
    (folder / "packages" / name).mkdir(parents=True)
    (folder / "packages" / name / "__init__.py").write_text(source)


@pytest.mark.slow
@pytest.mark.parametrize("replaced", [LIGHT + COREML, ()], ids=["most", "all"])
def test_this_machine_is_well_and_the_doctor_itself_imports_no_library(tmp_path, replaced):
    backend("openvino")
    for name in replaced:
        package(tmp_path, name)
    done = run(tmp_path, python=("-c", LISTING))
    assert done.stderr.splitlines()[-1] == "0 []", done.stdout
    text = done.stdout
    assert [line for line in text.splitlines() if line[:1].strip()] == ["this machine", "store", "backends", "to do"]
    rows = {words[0]: words[1:] for words in map(str.split, text.splitlines()) if len(words) > 1}
    assert rows["torch"] == [metadata.version("torch"), "needed", "works"]
    assert rows["openvino"] == [metadata.version("openvino"), "needed", "works"]
    assert "TF32 in matrix products" in text
    assert "CPU computes by default in" in text
    assert "written, linked and locked by two processes" in text
    assert text.rstrip().endswith("nothing: this configuration can run here")
    assert "tensorrt" not in rows or rows["tensorrt"][1] == "optional"


def test_help_imports_no_library_either(tmp_path):
    done = run(tmp_path, "--help", python=("-c", LISTING))
    assert done.stderr.splitlines()[-1] == "0 []"
    assert "--json" in done.stdout


def test_what_is_missing_fails_crashes_or_lacks_something_is_told_with_what_to_type(tmp_path):
    hide = "import importlib.util as u\nfind = u.find_spec\n"
    hide += "u.find_spec = lambda n, *a: None if n in ('openvino', 'timm') else find(n, *a)\n"
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "sitecustomize.py").write_text(hide)
    for name in LIGHT:
        package(tmp_path, name)
    package(tmp_path, "coremltools", "raise ImportError('on line one\\n\\nlibmodelpackage.so: cannot open')\n")
    package(tmp_path, "tensorrt", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    package(tmp_path, "safetensors", "import hardly_anybody_has_this\n")
    done = run(tmp_path, "--json")
    assert (done.returncode, done.stderr) == (4, "")
    report = json.loads(done.stdout)
    assert report["exit code"] == 4
    problems = {p["what"].split()[0]: (p["what"], p["command"]) for p in report["to do"]}
    assert problems.keys() == {"openvino", "coremltools", "tensorrt", "safetensors"}
    what, command = problems["openvino"]
    assert what.startswith("openvino is not installed (for stages.compile")
    assert command == "pip install 'torch-drydock[openvino]'"
    what, command = problems["coremltools"]
    assert what.endswith("does not work: ImportError: libmodelpackage.so: cannot open")
    assert command.startswith(("pip install --force-reinstall", f"remove {tmp_path}/packages/coremltools"))
    assert "does not work: its import ended by SIGSEGV" in problems["tensorrt"][0]
    what, command = problems["safetensors"]
    assert what.startswith(f"safetensors {metadata.version('safetensors')} does not work (for stages.")
    assert command == "pip install safetensors, which brings 'hardly_anybody_has_this' too"
    states = {b["module"]: b["state"] for b in report["backends"]}
    assert (states["timm"], states["torch"]) == ("missing", "works")


@pytest.fixture
def healthy(tmp_path, monkeypatch):
    """Libraries that all work as soon as they are installed, so that a test is about something else."""

    async def ask(module):
        return {"facts": {}}

    monkeypatch.setattr(backends, "ask", ask)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("overrides", "messages"),
    [
        (["opst=18"], ["opst: there is no such key", "did you mean 'opset=18'"]),
        (["model=custom"], ["model.factory has no value"]),
        (["opset=99"], ["stages.capture.opset is 99", "7 to 26"]),
        (["opset=18,20"], ["opset=18,20", "does not sweep"]),
    ],
)
def test_a_configuration_that_is_wrong_is_told_as_the_pipeline_tells_it(healthy, capsys, overrides, messages):
    assert examined([*overrides, "store=store"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [t for t in messages if t not in err] == []


def test_a_store_that_cannot_be_written_is_told_beside_all_else(healthy, capsys):
    (healthy / "file").write_text("")
    assert examined(["store=file/below"]) == 2
    text = capsys.readouterr().out
    assert "works        no" in text
    assert f"store={healthy}/file/below cannot be written: Not a directory" in text
    assert "openvino" in text


def test_a_store_of_another_format_is_told(healthy, capsys):
    (healthy / "store").mkdir()
    (healthy / "store" / "format.json").write_text('{"format": 9}')
    assert examined(["store=store"]) == 2
    assert "was written in format {'format': 9}" in capsys.readouterr().out


def test_a_disk_that_fails_is_told(healthy, capsys, monkeypatch):
    monkeypatch.setattr("os.link", raising(OSError(5, "Input/output error")))
    assert examined(["store=store"]) == 2
    assert "Input/output error" in capsys.readouterr().out


def test_a_file_system_without_links_will_do_and_that_is_told(healthy, capsys, monkeypatch):
    monkeypatch.setattr("os.link", raising(PermissionError(1, "Operation not permitted")))
    assert examined(["store=store"]) == 0
    assert "no hard links" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        ("torch>=2099", 4, "allowed: >=2099\n    try:     pip install 'torch>=2099'"),
        ("hydra-core<1", 4, "(for Drydock itself)\n    allowed: <1\n    try:     pip install 'hydra-core<1'"),
        ("pytest>=2099; extra == 'timm'", 0, "will not do: >=2099 is wanted: pip install 'pytest>=2099'"),
        (
            "unheard-of>=1; extra == 'timm'",
            0,
            "unheard_of   -        optional  not installed: pip install 'torch-drydock[",
        ),
        ("unheard-of>=1; extra == 'dev'", 0, "nothing: this configuration can run here"),
    ],
)
def test_a_version_that_will_not_do_counts_when_it_is_needed(healthy, capsys, monkeypatch, line, code, text):
    monkeypatch.setattr(metadata, "requires", lambda name: [line])
    assert examined(["target=onnx", "store=store"]) == code
    shown = capsys.readouterr().out
    assert " ".join(text.split()) in " ".join(shown.split())


def test_a_python_that_will_not_do_is_told(healthy, capsys, monkeypatch):
    monkeypatch.setattr(metadata, "metadata", lambda name: {"Requires-Python": ">=3.99"})
    assert examined(["target=onnx", "store=store"]) == 4
    assert "allowed: >=3.99" in capsys.readouterr().out


def test_the_library_that_a_models_factory_comes_from_is_needed(healthy, capsys):
    examined(["model=timm", "model.name=convnext_atto", "target=onnx", "store=store", "--json"])
    needed = {b["module"]: b["needed_by"] for b in json.loads(capsys.readouterr().out)["backends"]}
    assert needed["timm"] == ["stages.load"]
    assert needed["transformers"] == []


@pytest.mark.parametrize(("overrides", "needed_by"), [([], []), (["hydra/callbacks=mlflow"], ["hydra/callbacks"])])
def test_mlflow_is_needed_where_runs_are_tracked(healthy, capsys, monkeypatch, overrides, needed_by):
    monkeypatch.setattr(metadata, "requires", lambda name: ["mlflow-skinny>=3; extra == 'mlflow'"])
    examined(["target=onnx", "store=store", "--json", *overrides])
    needed = {b["module"]: b["needed_by"] for b in json.loads(capsys.readouterr().out)["backends"]}
    assert needed["mlflow"] == needed_by


@pytest.mark.parametrize(
    ("says", "code", "text"), [("A100, 580.1, 8.0, 80 GB", 0, "A100, 580.1"), ("no driver", 9, "none")]
)
def test_gpus_are_what_nvidia_smi_says(healthy, monkeypatch, says, code, text):
    program = healthy / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(healthy), prepend=os.pathsep)
    assert text in doctor._shown(doctor._gpus())


def test_a_target_for_a_gpu_cannot_run_without_one_and_the_other_way_on_is_told(healthy, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(healthy))
    gpu.describe.cache_clear()
    assert examined(["target=tensorrt", "store=store", "--json"]) == 4
    report = json.loads(capsys.readouterr().out)
    assert report["machine"]["gpu"] == "none: there is no nvidia-smi"
    assert any("no NVIDIA GPU" in p["what"] and "target=tensorrt_bundle" in p["command"] for p in report["to do"])


def test_what_the_core_itself_imports_is_always_needed():
    imported = "\n".join(p.read_text() for p in (ROOT / "pipeline").rglob("*.py"))
    modules = {r.module for r in requirements() if r.extra is None} | {"packaging"}
    assert {m for m in modules if f"import {m}" in imported or f"from {m}" in imported} == set(doctor.ITSELF)
