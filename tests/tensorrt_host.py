"""A host with TensorRT and a GPU, as far as the stages can tell: the doubles stand for both."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from pipeline.machine import gpu
from stages.tensorrt.compile_tensorrt import CompileTensorrt

DOUBLES = Path(__file__).parent / "doubles"
H100, RTX3090 = "NVIDIA H100 80GB HBM3,9.0,580.65.06", "NVIDIA GeForce RTX 3090,8.6,580.65.06"
SETTINGS = {
    "profiles": None,
    "shape_values": {},
    "workspace_mib": None,
    "optimization_level": 3,
    "tf32": False,
    "verbosity": "detailed",
    "hardware_compatibility": "none",
    "version_compatible": False,
    "lean_runtime": True,
    "strip_weights": False,
    "weight_streaming": False,
    "types": ["float32"],
}


class Host:
    """Puts the doubles in the place of tensorrt, CUDA and nvidia-smi for a test, and says how they behave."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._patch = folder, monkeypatch
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # a test's GPU is the double's, everywhere
        monkeypatch.setenv("PATH", str(DOUBLES), prepend=os.pathsep)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime"):
            path = DOUBLES.joinpath(*name.split("."))
            self._load(name, path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py")
        sys.modules["cuda.bindings"].runtime = sys.modules["cuda.bindings.runtime"]  # type: ignore[attr-defined]
        self.has("11.4.0.106")

    def has(self, version: str = "11.4.0.106", gpu_: str = H100, **acts: object) -> None:
        """From here on it is a host with this version and this GPU, and TensorRT behaves as ACTS says there."""
        self._patch.setenv("GPU_DOUBLE", gpu_)
        gpu.describe.cache_clear()
        self.tensorrt = self._load("tensorrt", DOUBLES / "tensorrt.py")
        self.tensorrt.ACTS.update(acts)  # type: ignore[attr-defined]
        self.tensorrt.__version__ = version  # type: ignore[attr-defined]

    def calls(self, name: str) -> list[tuple[object, ...]]:
        """The arguments of each call of a method, in order."""
        return [call[1:] for call in self.tensorrt.calls if call[0] == name]  # type: ignore[attr-defined]

    def stage(self, **settings: object) -> CompileTensorrt:
        """The stage as its YAML has it but for these settings, with a timing cache of the test's own."""
        return CompileTensorrt(**{**SETTINGS, "timing_cache": str(self._folder / "timing"), **settings})

    def _load(self, name: str, path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        self._patch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module
