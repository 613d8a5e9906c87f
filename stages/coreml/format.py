"""What others may ask of Core ML packages."""

from __future__ import annotations

from stages.formats.registry import Format

FORMATS = {"coreml": Format(runtime="runtime", types="types")}
