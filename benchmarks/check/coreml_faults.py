"""Core ML packages: how one is read and written, and every fault that can be planted in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.check import coreml_graph, coreml_operators, coreml_values
from benchmarks.check.coreml_graph import read as read
from benchmarks.check.coreml_graph import save as save
from benchmarks.check.mutant import Mutant
from benchmarks.check.subjects import Subject


def mutants(path: Path, subject: Subject, given: tuple[Mapping[str, Any], Mapping[str, Any]]) -> Iterator[Mutant]:
    """The faults of one package; see onnx_faults.py."""
    looked = coreml_graph.looked_at(path, subject, given)
    yield from coreml_values.mutants(looked)
    yield from coreml_operators.mutants(looked)
