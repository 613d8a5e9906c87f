"""This machine's NVIDIA GPU: what decides results that are native to it, such as TensorRT engines.

The facts come from nvidia-smi, a part of the driver; no library of NVIDIA's is imported.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Mapping

from pipeline.errors import BackendMissing, listed

NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,driver_version,compute_cap,memory.total", "--format=csv,noheader")
PATIENCE_SECONDS = 60.0


def ask(*which: str) -> tuple[list[str], str]:
    """nvidia-smi's line for each GPU, "name, driver, compute capability, memory"; or why there are none.

    Args:
        which: More arguments for it, such as --id=1.
    """
    try:
        result = subprocess.run(
            (*NVIDIA_SMI, *which), capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
    except FileNotFoundError:
        return [], "there is no nvidia-smi"
    except (OSError, subprocess.SubprocessError) as e:
        return [], f"nvidia-smi: {e}"
    lines = [line.strip() for line in (result.stdout or result.stderr).splitlines() if line.strip()]
    if result.returncode == 0 and lines:
        return lines, ""
    return [], f"nvidia-smi says {lines[-1] if lines else f'nothing, exit code {result.returncode}'}"


@functools.cache
def describe() -> Mapping[str, str]:
    """The name, driver and compute capability (such as "8.6") of the GPU that CUDA shows first.

    CUDA counts from the fastest unless CUDA_DEVICE_ORDER is PCI_BUS_ID, and nvidia-smi by PCI bus: among different GPUs
    an index means two things.

    Raises:
        BackendMissing: Where there is none, or it is unclear which one is used.
    """
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0].strip()
    if first in ("", "-1"):
        raise _none("CUDA_VISIBLE_DEVICES hides it")
    lines, why = ask()
    if why:
        raise _none(why)
    kinds = {_parts(line) for line in lines}
    if len(kinds) > 1 and not first.startswith("GPU-") and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        raise BackendMissing(
            f"this machine has different GPUs: {listed(lines)}",
            allowed="one of them by its UUID, or by its number where CUDA counts as nvidia-smi does",
            command="CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=0 before the command",
        )
    if len(kinds) > 1:
        lines, why = ask(f"--id={first}")
        if why:
            raise _none(why)
    name, driver, capability = _parts(lines[0])
    return {"name": name, "driver": driver, "compute_capability": capability}


def _parts(line: str) -> tuple[str, str, str]:
    name, driver, capability, *_ = [part.strip() for part in line.split(",")]
    return name, driver, capability


def _none(why: str) -> BackendMissing:
    return BackendMissing(
        f"this machine has no NVIDIA GPU that can be used: {why}",
        command="the same on a host with an NVIDIA GPU, its driver and nvidia-smi",
    )
