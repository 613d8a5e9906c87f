"""One library, truly imported and asked what changes results.

`python -m pipeline.machine.probe MODULE` prints a line of JSON.

It runs as a process of its own, because an import may crash, hang or fill the memory. The core knows no library; the
facts here are asked of modules that are imported by the name it was given. The line is `{"facts": {…}}`, or `{"error":
"ImportError: …", "lacks": …}`, with the module whose absence is the error, if that is what it is.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

# What a library does without, in silence, until it is wanted: wheels that lack it work for minutes, and then fail.
PARTS: Mapping[str, tuple[str, ...]] = {"coremltools": ("libmilstoragepython", "libmodelpackage")}


def main(module: str) -> dict[str, Any]:
    """Imports a module and asks it for its facts."""
    # As stages do: an import of it fails, so nothing is sent to anybody.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        imported = importlib.import_module(module)
        return {"facts": FACTS.get(module, _none)(imported)}
    except (Exception, SystemExit) as e:
        last = [line.strip() for line in str(e).splitlines() if line.strip()][-1:]
        lacks = e.name if isinstance(e, ModuleNotFoundError) else None
        return {"error": ": ".join([type(e).__name__, *last]), "lacks": lacks}


def _none(module: Any) -> Mapping[str, Any]:
    return {}


def _openvino(openvino: Any) -> Mapping[str, Any]:
    """Loads the plugin of every device; the processor's must load, others are left out by OpenVINO when they do not."""
    core = openvino.Core()
    facts = {"CPU": core.get_property("CPU", "FULL_DEVICE_NAME").strip()}
    for device in core.available_devices:
        supported = core.get_property(device, "SUPPORTED_PROPERTIES")
        facts[device] = core.get_property(device, "FULL_DEVICE_NAME").strip()
        if "INFERENCE_PRECISION_HINT" in supported:
            unless_told = core.get_property(device, "INFERENCE_PRECISION_HINT").to_string()
            facts[f"{device} computes in, unless told"] = unless_told
        if "OPTIMIZATION_CAPABILITIES" in supported:
            facts[f"{device} is good at"] = sorted(core.get_property(device, "OPTIMIZATION_CAPABILITIES"))
    return facts


def _onnxruntime(onnxruntime: Any) -> Mapping[str, Any]:
    return {"providers": onnxruntime.get_available_providers()}


def _torch(torch: Any) -> Mapping[str, Any]:
    """Multiplies two matrices, so that what computes is loaded too."""
    ones = torch.ones(8, 8)
    if not bool((ones @ ones == 8).all()):
        raise RuntimeError("a product of two matrices of ones is wrong")
    facts = {
        "threads": torch.get_num_threads(),
        "kernels for": torch.backends.cpu.get_cpu_capability(),
        "oneDNN": torch.backends.mkldnn.is_available(),
        "CUDA": torch.version.cuda or "not built in",
        "CUDA works": torch.cuda.is_available(),
    }
    # Setting one of the ways to choose TF32 may forbid to read the other.
    with contextlib.suppress(RuntimeError, AttributeError):
        facts["TF32 in matrix products"] = torch.backends.cuda.matmul.allow_tf32
        facts["TF32 in convolutions"] = torch.backends.cudnn.allow_tf32
    if torch.version.cuda:
        facts["built for"] = torch.cuda.get_arch_list()
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            major, minor = torch.cuda.get_device_capability(i)
            facts[f"GPU {i}"] = f"{torch.cuda.get_device_name(i)}, sm_{major}{minor}"
    return facts


def _coremltools(coremltools: Any) -> Mapping[str, Any]:
    """Loads the native libraries that it does without, in silence, until a model is to be written."""
    for name in PARTS["coremltools"]:
        importlib.import_module(f"coremltools.{name}")
    try:
        importlib.import_module("coremltools.libcoremlpython")
    except ImportError as e:
        if sys.platform == "darwin":
            raise
        return {"writes models": True, "runs models": f"no, only on macOS ({type(e).__name__})"}
    return {"writes models": True, "runs models": True}


def _tensorrt(tensorrt: Any) -> Mapping[str, Any]:
    """Creates a builder, which takes a GPU and a driver that is new enough."""
    try:
        tensorrt.Builder(tensorrt.Logger(tensorrt.Logger.ERROR))
    except (TypeError, RuntimeError) as e:  # what its bindings make of a null pointer
        return {"builds engines": f"no, without an NVIDIA GPU and a driver that fits ({type(e).__name__})"}
    return {"builds engines": True}


FACTS: Mapping[str, Callable[[Any], Mapping[str, Any]]] = {
    "coremltools": _coremltools,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "tensorrt": _tensorrt,
    "torch": _torch,
}

if __name__ == "__main__":
    # What libraries print while they are imported is no answer.
    answer = os.dup(1)
    os.dup2(2, 1)
    os.write(answer, json.dumps(main(sys.argv[1]), default=str).encode())
    # As a run ends: what a library does at exit is not asked.
    os._exit(0)
