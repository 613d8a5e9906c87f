"""What others may ask of ONNX graphs."""

from __future__ import annotations

from stages.formats.registry import Format

FORMATS = {"onnx": Format(runtime="runtime", types="types", values="values", largest="values")}
