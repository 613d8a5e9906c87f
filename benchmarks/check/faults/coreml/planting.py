"""Core ML packages: how one is read and written, and every fault that can be planted in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.check.faults.coreml import graph, operators, sizes, values
from benchmarks.check.faults.coreml.graph import read as read
from benchmarks.check.faults.coreml.graph import save as save
from benchmarks.check.faults.mutant import Mutant
from benchmarks.check.models.subjects import Subject


def mutants(path: Path, subject: Subject, two_inputs: tuple[Mapping[str, Any], Mapping[str, Any]]) -> Iterator[Mutant]:
    """The faults of one package; see faults/onnx/planting.py."""
    looked = graph.looked_at(path, subject, two_inputs)
    yield from values.mutants(looked)
    yield from sizes.mutants(looked)
    yield from operators.mutants(looked)
