"""OpenVINO models: how one is read and written, and every fault that can be planted in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.check.faults.mutant import Mutant
from benchmarks.check.faults.openvino import graph, operators, sizes, values
from benchmarks.check.faults.openvino.graph import read as read
from benchmarks.check.models.subjects import Subject


def save(model: Any, folder: Path) -> None:
    import openvino

    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)


def mutants(file: Path, subject: Subject, two_inputs: tuple[Mapping[str, Any], Mapping[str, Any]]) -> Iterator[Mutant]:
    """The faults of one model; see faults/onnx/planting.py."""
    looked = graph.looked_at(file, subject, two_inputs)
    yield from values.mutants(looked)
    yield from operators.mutants(looked)
    yield from sizes.mutants(looked)
