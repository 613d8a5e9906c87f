"""The format of references."""

from __future__ import annotations

from pipeline.formats import Format

FORMATS = {"reference": Format(file="reference.safetensors")}
