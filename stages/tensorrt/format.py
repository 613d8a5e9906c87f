"""What others may ask of TensorRT engines."""

from __future__ import annotations

from stages.formats.registry import Format

FORMATS = {"tensorrt": Format(runtime="runtime")}
