"""The formats of samples."""

from __future__ import annotations

from pipeline.formats import Format

FORMATS = {
    "samples": Format(file="samples.safetensors"),
    "answers": Format(file="answers.safetensors"),
}
