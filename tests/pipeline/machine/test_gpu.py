"""Facts of this machine's NVIDIA GPU from nvidia-smi, which is a script of the test here."""

import os

import pytest

from pipeline.errors import BackendMissing
from pipeline.machine import gpu
from pipeline.machine.world import ThisMachine

A100, T4 = "NVIDIA A100, 580.65.06, 8.0, 81920 MiB", "Tesla T4, 580.65.06, 7.5, 15360 MiB"
ONE_OR_BOTH = f"""case "$*" in *--id=1*) echo '{T4}' ;; *) printf '{A100}\\n{T4}\\n' ;; esac"""


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Puts a shell script in the place of nvidia-smi."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    gpu.describe.cache_clear()

    def written(script):
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)

    yield written
    gpu.describe.cache_clear()


def description(line):
    name, driver, capability, _ = line.split(", ")
    return {"name": name, "driver": driver, "compute_capability": capability}


@pytest.mark.parametrize(
    ("script", "environment", "line"),
    [
        (f"echo '{A100}'", {}, A100),
        (f"printf '{T4}\\n{T4}\\n'", {}, T4),
        (ONE_OR_BOTH, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1,0"}, T4),
        (ONE_OR_BOTH, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, A100),
    ],
)
def test_the_gpu_is_the_one_that_cuda_shows_first(nvidia_smi, tmp_path, monkeypatch, script, environment, line):
    nvidia_smi(script)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ThisMachine(tmp_path / "facts", may_fetch=False).gpu() == description(line)


@pytest.mark.parametrize(
    ("script", "environment", "says"),
    [
        ("echo 'NVIDIA-SMI has failed' >&2; exit 9", {}, "nvidia-smi says NVIDIA-SMI has failed"),
        ("exit 3", {}, "nvidia-smi says nothing, exit code 3"),
        (f"echo '{A100}'", {"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES hides it"),
        (ONE_OR_BOTH, {}, "this machine has different GPUs"),
        (ONE_OR_BOTH, {"CUDA_VISIBLE_DEVICES": "1"}, "this machine has different GPUs"),
    ],
)
def test_that_there_is_none_or_no_telling_which_is_told(nvidia_smi, monkeypatch, script, environment, says):
    nvidia_smi(script)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BackendMissing, match=says):
        gpu.describe()


def test_a_machine_without_the_program_has_none(nvidia_smi, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendMissing, match="there is no nvidia-smi"):
        gpu.describe()
