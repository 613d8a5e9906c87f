"""Checks a package with Core ML on the Mac that it was delivered to, against the recorded outputs of the original.

    python selfcheck.py                        on each of Core ML's compute units in turn
    python selfcheck.py --device CPU_AND_NE    on one: CPU_ONLY, CPU_AND_GPU, CPU_AND_NE or ALL
    python selfcheck.py --runs 200

It needs macOS, Python 3.10 or later, numpy and coremltools; pillow too where an input is an image. It reads
artifact.json and reference.npz beside itself, and writes selfcheck.json, which `inspect` of Drydock reads.
Exit codes: 0 it agrees, 2 wrong usage, 3 it cannot run, 4 the runtime or numpy is not installed, 5 it does not agree.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stages.portable.handed_over import CANNOT_RUN, USAGE, Stop, module
from stages.portable.selfcheck import DEFAULT, RECORDED, Running, Runtime, main

# By coremltools' names: https://apple.github.io/coremltools/source/coremltools.models.html#coremltools.ComputeUnit
UNITS = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")


def _load(
    coremltools: Any, path: Path, record: Mapping[str, Any], claim: Mapping[str, Any], arguments: argparse.Namespace
) -> Running:
    if arguments.device not in UNITS:
        raise Stop(USAGE, f"--device is {arguments.device}\n  allowed: {', '.join(UNITS)}")
    if arguments.compute not in (RECORDED, DEFAULT, claim["compute"]):
        raise Stop(USAGE, f"--compute is {arguments.compute}: a package computes in its own types, {claim['compute']}")
    function = {n: v for n, v in claim["properties"].items() if n == "function_name"}
    model = coremltools.models.MLModel(str(path), compute_units=coremltools.ComputeUnit[arguments.device], **function)
    facts = record["facts"]
    images = (facts.get("edits") or {}).get("images")
    dtypes = {o["name"]: o["dtype"] for o in facts["interface"]["outputs"]}
    labels = facts.get("classifier")

    def run(inputs: Mapping[str, Any]) -> dict[str, Any]:
        np = module("numpy")
        outputs = model.predict(_fed(inputs, images))
        results = {n: outputs[n] for n in dtypes if n in outputs}
        if labels is None:
            return {n: np.asarray(v, dtypes[n]) for n, v in results.items()}
        scores = next((v for v in outputs.values() if isinstance(v, dict)), {})
        if set(scores) != set(labels["labels"]):
            raise Stop(CANNOT_RUN, f"the classifier answers with the labels {', '.join(map(str, scores)) or '(none)'}")
        arrays = {n: np.array([scores[x] for x in labels["labels"]], dtypes[n]) for n in dtypes}
        return {**arrays, labels["label"]: np.asarray(outputs[labels["label"]])}

    def prepare(inputs: Mapping[str, Any]) -> Callable[[], object]:
        fed = _fed(inputs, images)
        return lambda: model.predict(fed)

    says = f"coremltools {coremltools.__version__}, Core ML of {_mac()}, {arguments.device}"
    return Running(run, prepare, claim["compute"], says)  # the types are the program's own


def _fed(inputs: Mapping[str, Any], images: Mapping[str, Any] | None) -> dict[str, Any]:
    """Inputs as Core ML takes them: a picture for uint8 [1, height, width, 3], an array for everything else."""
    fed = dict(inputs)
    for name, value in inputs.items():
        if images is not None and value.dtype == "uint8" and value.ndim == 4:
            pixels = value[0][..., ::-1] if images["color"] == "BGR" else value[0]
            fed[name] = module("PIL.Image").fromarray(module("numpy").ascontiguousarray(pixels))
    return fed


def _mac() -> str:
    """The system and the chip, such as "macOS 15.1 on Apple M2"; on other systems their name."""
    version = platform.mac_ver()[0]
    if not version:
        return f"{platform.system()} (no macOS)"
    try:
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        chip = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        chip = platform.machine()
    return f"macOS {version} on {chip}"


RUNTIME = Runtime("coremltools", {"coreml": ".mlpackage"}, _load, UNITS)

if __name__ == "__main__":
    sys.exit(main(RUNTIME, str(__doc__), Path(__file__).parent))
