"""What doctor reads from coremltools: whether it writes and runs models."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from pipeline import formats
from stages.coreml.format import COREML


def _coremltools(coremltools: Any) -> Mapping[str, Any]:
    """Loads coremltools' native libraries: it silently works without them until it has to write a model."""
    for name in formats.format_of(COREML).native["coremltools"]:
        importlib.import_module(f"coremltools.{name}")
    try:
        importlib.import_module("coremltools.libcoremlpython")
    except ImportError as e:
        if sys.platform == "darwin":
            raise
        return {"writes models": True, "runs models": f"no, only on macOS ({type(e).__name__})"}
    return {"writes models": True, "runs models": True}


FACTS: Mapping[str, Callable[[Any], Mapping[str, Any]]] = {"coremltools": _coremltools}
