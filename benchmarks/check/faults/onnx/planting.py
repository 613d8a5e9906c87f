"""ONNX graphs: how one is read and written, and every fault that can be planted in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.check.faults.mutant import Mutant
from benchmarks.check.faults.onnx import attributes, edges, graph, operators, sizes, values
from benchmarks.check.models.subjects import Subject

ROOMS = (attributes, edges, operators, sizes, values)


def read(file: Path) -> Any:
    import onnx

    return onnx.load(file)


def save(model: Any, folder: Path) -> None:
    import onnx

    onnx.save(model, folder / "model.onnx")


def mutants(file: Path, subject: Subject, two_inputs: tuple[Mapping[str, Any], Mapping[str, Any]]) -> Iterator[Mutant]:
    """The faults of one graph.

    Args:
        file: The graph.
        subject: Whose it is.
        two_inputs: Inputs of two sizes: what differs between them is dynamic.
    """
    looked = graph.looked_at(read(file), subject, two_inputs)
    for room in ROOMS:
        yield from room.mutants(looked)
