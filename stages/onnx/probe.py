"""What doctor reads from onnxruntime: its providers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def _onnxruntime(onnxruntime: Any) -> Mapping[str, Any]:
    return {"providers": onnxruntime.get_available_providers()}


FACTS: Mapping[str, Callable[[Any], Mapping[str, Any]]] = {"onnxruntime": _onnxruntime}
