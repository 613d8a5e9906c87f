"""What doctor reads from TensorRT: whether it builds engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def _tensorrt(tensorrt: Any) -> Mapping[str, Any]:
    """Creates a builder, which needs a GPU and a driver that is new enough."""
    try:
        tensorrt.Builder(tensorrt.Logger(tensorrt.Logger.ERROR))
    except (TypeError, RuntimeError) as e:  # its bindings raise these for a null pointer
        return {"builds engines": f"no, without an NVIDIA GPU and a driver that fits ({type(e).__name__})"}
    return {"builds engines": True}


FACTS: Mapping[str, Callable[[Any], Mapping[str, Any]]] = {"tensorrt": _tensorrt}
