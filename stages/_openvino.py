"""OpenVINO without its telemetry."""

from __future__ import annotations

import sys
from typing import Any


def quiet() -> Any:
    """The module openvino, imported such that it sends nothing to anybody.

    Its converter reports what it converts through openvino_telemetry, and does without where that is not to be had.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # makes an import of it fail
    import openvino

    return openvino
