"""Where a TensorRT engine runs: the portability card beside it, and the reasons why it cannot run on a host.

This file, cuda.py, run.py, timing.py and build.py import the standard library and one another, in this order; they
import tensorrt, numpy and the GPU's libraries only inside functions. A build bundle's script contains them all.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import tensorrt as trt

EXIT_FAILED, EXIT_MISSING, EXIT_WRONG = 3, 4, 5  # as in pipeline/errors.py
DRIVER = Path("/proc/driver/nvidia/version")
# The engine inspector's names of types: "Half", or "Channel major FP16 format where channel % 8 == 0".
SPELLINGS = {
    "float32": r"FP32|Float",
    "float16": r"FP16|Half",
    "bfloat16": r"BF16|BFloat16",
    "float8": r"FP8|E4M3",
    "int8": r"Int8",
    "int4": r"Int4",
    "float4": r"FP4|E2M1",
}
FLOATS = ("float32", "float16", "bfloat16")
# The keys of a card besides the host.
CARD = {"engine", "graph", "plan", "network", "layers", "inputs", "outputs"}
# Layers that compute nothing: they copy, wait, or contain constants.
IDLE = ("reformat", "noop", "constant", "signal", "wait", "shape")


class Failure(Exception):
    """An error for a person.

    Args:
        what: A sentence with the place and the value found.
        exit_code: 3 for a failure, 4 for something missing, 5 for a result that differs from the requested one.
        allowed: The values that are accepted.
        command: The next thing to do.
    """

    def __init__(self, what: str, exit_code: int = EXIT_FAILED, *, allowed: str = "", command: str = "") -> None:
        self.what, self.exit_code, self.allowed, self.command = what, exit_code, allowed, command
        more = ((f"  allowed: {allowed}", allowed), (f"  try:     {command}", command))
        super().__init__("\n".join([what, *(line for line, there in more if there)]))


@dataclass(frozen=True)
class Host:
    """A machine on which an engine is built or loaded.

    Args:
        tensorrt: The version, such as 11.4.0.106.
        gpu: Its name.
        compute_capability: The compute capability, such as 9.0.
        driver: The version of the kernel module; "unknown" where the system does not say.
        platform: The platform, such as linux-x86_64.
    """

    tensorrt: str
    gpu: str
    compute_capability: str
    driver: str
    platform: str

    @classmethod
    def here(cls, gpu: str, compute_capability: str) -> Host:
        """This host, with its GPU."""
        system = f"{platform.system()}-{platform.machine()}".lower()
        return cls(tensorrt_module().__version__, gpu, compute_capability, _driver(), system)

    def __str__(self) -> str:
        sm = self.compute_capability.replace(".", "")
        return f"TensorRT {self.tensorrt} on sm_{sm} ({self.gpu}, {self.platform})"


def tensorrt_module() -> Any:
    """TensorRT's Python API. Raises Failure."""
    try:
        import tensorrt
    except (ImportError, OSError) as e:
        raise Failure(
            f"tensorrt cannot be imported: {e}",
            EXIT_MISSING,
            allowed="TensorRT 10.13 or later with its libraries, on a host with an NVIDIA GPU",
            command="pip install tensorrt-cu13, or the version that the engine's card names",
        ) from e
    return tensorrt


class Messages:
    """TensorRT's messages: warnings are printed, errors are collected for the next failure.

    Args:
        say: Takes a line for a person.
    """

    def __init__(self, say: Callable[[str], object]) -> None:
        self.errors: list[str] = []
        self.logger = self._listening(tensorrt_module(), say)

    def _listening(self, trt: Any, say: Callable[[str], object]) -> trt.ILogger:
        wrong, errors = (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR), self.errors

        class Listener(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in wrong:
                    errors.append(message)
                elif severity == trt.ILogger.WARNING:
                    say(f"TensorRT: {message}")

        return Listener()

    def fail(self, what: str, exit_code: int = EXIT_FAILED, *, cause: Exception | None = None, **more: str) -> NoReturn:
        """Raises Failure with TensorRT's last errors."""
        lines = [line for line in [*self.errors, *([str(cause)] if cause else [])] if line.strip()][-3:]
        raise Failure("\n    ".join([what, *(lines or ["TensorRT says no more"])]), exit_code, **more) from cause


def read_card(path: Path) -> dict[str, Any]:
    """The card beside an engine. Raises Failure."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        Host(**card["host"])
        if lacking := CARD - card.keys():
            raise ValueError(f"it has no {', no '.join(sorted(lacking))}")
    except (OSError, ValueError, TypeError, KeyError) as e:
        raise Failure(
            f"{path.name} beside the engine does not say where it runs: {e}", command="build the engine again"
        ) from e
    return dict(card)


def refuse(card: Mapping[str, Any], here: Host, engine: Path) -> None:
    """Raises Failure where an engine cannot run on a host, before TensorRT fails with an assertion."""
    if _sha256(engine) != card["engine"]["sha256"]:
        raise Failure(f"{engine.name} is not the engine of its card", EXIT_WRONG, command="copy both again")
    built, plan = Host(**card["host"]), card["plan"]
    level = plan["hardware_compatibility"]
    newer = plan["version_compatible"] and _numbers(here.tensorrt) >= _numbers(built.tensorrt)
    capable = here.compute_capability == built.compute_capability
    if level == "ampere_plus":
        capable = _numbers(here.compute_capability) >= (8, 0)
    fits = here.platform == built.platform and capable and (newer or here.tensorrt == built.tensorrt)
    if not fits:
        raise Failure(
            f"built with {built}, this host has {here}",
            EXIT_MISSING,
            allowed=portability(card),
            command="build the engine on this host, or for it: hardware_compatibility, version_compatible",
        )


def portability(card: Mapping[str, Any]) -> str:
    """Where an engine runs, in words."""
    built, plan = Host(**card["host"]), card["plan"]
    versions = f"TensorRT {built.tensorrt}" + (" or later" if plan["version_compatible"] else " exactly")
    gpus = {
        "none": f"compute capability {built.compute_capability}, best on the same model: {built.gpu}",
        "same_compute_capability": f"compute capability {built.compute_capability}",
        "ampere_plus": "compute capability 8.0 or later",
    }
    weights = "; its weights come from the ONNX file beside it" if plan["strip_weights"] else ""
    return f"{versions}; {gpus[plan['hardware_compatibility']]}; {built.platform}{weights}"


def layer_types(information: str) -> dict[str, int]:
    """How many layers have each output type, most frequent first, from the JSON of the engine inspector.

    Empty when the engine was not built with detailed profiling verbosity. Integers of more than 8 bits are indices and
    shapes, and are not counted.
    """
    layers = json.loads(information).get("Layers", [])
    counts: Counter[str] = Counter()
    for layer in layers:
        if not isinstance(layer, dict) or str(layer.get("LayerType", "")).lower().startswith(IDLE):
            continue
        formats = " ".join(str(o.get("Format/Datatype", "")) for o in layer.get("Outputs", [])[:1])
        counts.update(t for t, words in SPELLINGS.items() if re.search(rf"\b({words})\b", formats, re.IGNORECASE))
    return dict(counts.most_common())


def computes_in(layers: Mapping[str, int]) -> str:
    """The floating-point output type of most layers; "unknown" where the engine reports none."""
    return max((t for t in FLOATS if t in layers), key=lambda t: layers[t], default="unknown")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)))


def _driver() -> str:
    try:
        match = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", DRIVER.read_text(encoding="utf-8"))
    except OSError:
        return "unknown"
    return match[1] if match else "unknown"
