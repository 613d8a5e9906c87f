"""What doctor asks torch once it was imported: what it computes with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any


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


FACTS: Mapping[str, Callable[[Any], Mapping[str, Any]]] = {"torch": _torch}
