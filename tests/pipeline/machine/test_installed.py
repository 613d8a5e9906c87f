"""The metadata of our own distribution."""

from importlib import metadata

import pytest

from pipeline.machine import installed
from tests.pipeline.conftest import raising

REQUIRES = [
    "onnx>=1.21",
    "pillow>=10",
    "openvino>=2026.1; extra == 'openvino'",
    'tensor-rt.core[cu12]>=10 ; python_version > "3.9" and extra == "tensorrt"',
    "torch-drydock[openvino]; extra == 'all'",
    "mypy>=2; extra == 'dev'",
    "coremltools>=9; extra == 'all'",
    "coremltools>=9; extra == 'coreml'",
    "obstore>=0.9; extra == 'remote'",
]


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("openvino", "pip install 'torch-drydock[openvino]'"),
        ("tensor_rt.core", "pip install 'torch-drydock[tensorrt]'"),
        ("coremltools", "pip install 'torch-drydock[coreml]'"),
        ("obstore", "pip install 'torch-drydock[remote]'"),
        ("onnx", "pip install onnx"),
        ("PIL", "pip install pillow"),
        ("mypy", "pip install mypy"),
        ("drydock", "pip install drydock"),
        ("unheard_of", "pip install unheard_of"),
    ],
)
def test_the_command_names_the_extra_that_brings_a_library(monkeypatch, module, command):
    monkeypatch.setattr(metadata, "requires", lambda name: REQUIRES)
    assert installed.how_to_install(module) == command


def test_a_bare_checkout_names_the_library_itself(monkeypatch):
    missing = raising(metadata.PackageNotFoundError("torch-drydock"))
    monkeypatch.setattr(metadata, "requires", missing)
    monkeypatch.setattr(metadata, "version", missing)
    assert installed.how_to_install("openvino") == "pip install openvino"
    assert installed.own_version() == "not installed"


def test_a_distribution_that_requires_nothing_is_no_trouble(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda name: None)
    assert installed.how_to_install("openvino") == "pip install openvino"


def test_our_version_is_that_of_the_distribution(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: f"9.9 of {name}")
    assert installed.own_version() == "9.9 of torch-drydock"


@pytest.mark.parametrize(
    ("versions", "version", "fits"),
    [
        (">=2.11", "2.15.0+cu132", True),
        (">=2.11", "2.9.1", False),
        (">=2.0,<2.4", "2.4.0", False),
        (">=5.0", "6.0rc1", True),
        ("", "1", True),
        (">=1", "unknown", True),
    ],
)
def test_a_version_is_held_to_what_our_distribution_wants(versions, version, fits):
    assert installed.Requirement("x", "x", versions, None).admits(version) is fits
