"""target=tensorrt from the command line: refused without a GPU, delivered with the doubles."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from command_line import SHOP, Shop
from tensorrt_host import DOUBLES

ROOT = DOUBLES.parents[1]
MODEL = (
    "model=custom",
    "model.factory=net.Net",
    "model.weights=random",
    "model.inputs.input.shape=[batch,3,16,16]",
)
PLACES = ["stages.compile", "no NVIDIA GPU that can be used: there is no nvidia-smi", "or target=tensorrt_bundle"]


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A user's folder, with the caches of a test's own."""
    (tmp_path / "net.py").write_bytes((SHOP / "net.py").read_bytes())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DRYDOCK_STORE", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return Shop(tmp_path)


@pytest.fixture
def gpu_host(shop, monkeypatch):
    """The same with TensorRT and a GPU, as far as it can tell."""
    monkeypatch.setenv("PYTHONPATH", f"{DOUBLES}{os.pathsep}{os.environ.get('PYTHONPATH') or ROOT}")
    monkeypatch.setenv("PATH", str(DOUBLES), prepend=os.pathsep)
    return shop


@pytest.mark.parametrize("installed", [False, True], ids=["without TensorRT", "with TensorRT"])
def test_without_a_gpu_nothing_begins_and_both_ways_on_are_told(shop, monkeypatch, installed):
    monkeypatch.setenv("PATH", str(shop.folder))
    path = [str(DOUBLES)] if installed else []
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*path, os.environ.get("PYTHONPATH") or str(ROOT)]))
    command = [sys.executable, "-X", "importtime", "-m", "pipeline", "target=tensorrt", f"store={shop.store}"]
    done = subprocess.run(command, cwd=shop.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert all(place in done.stderr for place in PLACES)
    assert ("'tensorrt' is not installed" in done.stderr) is not installed
    imported = set(re.findall(r"^import time:.*\| +(\w+)$", done.stderr, re.MULTILINE))
    assert "hydra" in imported
    assert imported & {"torch", "numpy", "onnx", "tensorrt"} == set(), "two seconds are not enough for that"
    assert not list(shop.store.rglob("*.onnx"))


@pytest.mark.slow  # an engine in stages/tensorrt/test_compile_tensorrt, its card in stages/formats/test_record
def test_an_engine_is_delivered_with_its_card_which_carries_the_record(gpu_host):
    output = gpu_host.folder / "out"
    # A new interpreter: what tests fork has looked for a GPU already.
    process = gpu_host.start(*MODEL, "target=tensorrt", "precision=fp16", f"output={output}")
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert out.strip() == str(output / "custom.engine")
    assert {p.name for p in output.iterdir()} == {"artifact.json", "custom.engine", "custom.json"}
    assert "TensorRT: half of this is slow" in err
    assert "Building Engine: 8 of 8" in err
    assert list((gpu_host.folder / "cache" / "drydock" / "tensorrt").glob("*.timing"))
    for path in (output, output / "custom.engine", output / "custom.json"):
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.inspect", path], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "custom → tensorrt  fp16" in done.stdout
        assert "its files are as they were handed over" in done.stdout
    (output / "custom.engine").write_bytes(b"another")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.inspect", output], capture_output=True, text=True, check=False
    )
    assert "custom.engine is not what was handed over" in done.stdout + done.stderr
    again = gpu_host.run(*MODEL, "target=tensorrt", "precision=fp16", f"output={output}")
    assert "compile          hit" in again.stderr
