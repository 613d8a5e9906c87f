"""OpenVINO without its telemetry."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from pipeline.errors import StageError


def quiet() -> Any:
    """The module openvino, imported such that it sends nothing to anybody.

    Its converter reports what it converts through openvino_telemetry, and does without where that is not to be had.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # makes an import of it fail
    import openvino

    return openvino


def read(path: Path, says: str) -> Any:
    """The openvino.Model of a file that one of OpenVINO's own readers knows. Raises StageError.

    Args:
        path: The file, or a SavedModel's folder.
        says: What people call such a file.
    """
    openvino = quiet()
    try:
        return openvino.convert_model(path)
    except Exception as e:  # the readers raise anything on a damaged file
        raise StageError(
            f"OpenVINO cannot read this {says}: {first_line(e)}",
            allowed="a whole file, of operators that OpenVINO has",
            command="compare its size and SHA-256 with the original's",
        ) from e


def first_line(error: Exception) -> str:
    """The first line that is for people: OpenVINO puts before it which check failed where in its own source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    told = [n for n in lines if not re.match(r"Check '.*' failed at |FrontEnd API failed|Exception from ", n)]
    return (told or lines)[0]
