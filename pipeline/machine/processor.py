"""This machine's processor: what decides results that are native to it, such as compiled code and measured times."""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Mapping
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# The instruction sets that back ends choose kernels and precisions by: x86-64's by Linux's names, then aarch64's.
DECISIVE = """
sse4_2 avx f16c fma avx2 avx_vnni avx_vnni_int8 avx_ne_convert avx512f avx512bw avx512dq avx512vl avx512_vnni
avx512_bf16 avx512_fp16 amx_tile amx_int8 amx_bf16 amx_fp16 avx10_1 avx10_2
asimd asimdhp asimddp asimdfhm bf16 i8mm sve sve2 svebf16 svei8mm sme sme2
"""


@functools.cache
def describe() -> Mapping[str, str]:
    """The processor's architecture, name and those of its instruction sets that matter, as "avx2 avx512f …".

    Where the system does not list instruction sets (anywhere but on Linux), they are "unknown".
    """
    fields = _first_block()
    listed = fields.get("flags") or fields.get("Features")
    return {
        "architecture": platform.machine(),
        "name": fields.get("model name") or platform.processor() or "unknown",
        "instructions": " ".join(sorted({*DECISIVE.split()} & {*listed.split()})) if listed else "unknown",
    }


def cores() -> int:
    """The logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _first_block() -> Mapping[str, str]:
    """The fields of /proc/cpuinfo for the first core, by name; empty where there is no such file."""
    try:
        first = CPUINFO.read_text().partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
