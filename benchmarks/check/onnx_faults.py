"""ONNX graphs: how one is read and written, and every fault that can be planted in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.check import onnx_attributes, onnx_edges, onnx_graph, onnx_operators, onnx_sizes, onnx_values
from benchmarks.check.mutant import Mutant
from benchmarks.check.subjects import Subject

ROOMS = (onnx_attributes, onnx_edges, onnx_operators, onnx_sizes, onnx_values)


def read(file: Path) -> Any:
    import onnx

    return onnx.load(file)


def save(model: Any, folder: Path) -> None:
    import onnx

    onnx.save(model, folder / "model.onnx")


def mutants(file: Path, subject: Subject, given: tuple[Mapping[str, Any], Mapping[str, Any]]) -> Iterator[Mutant]:
    """The faults of one graph.

    Args:
        file: The graph.
        subject: Whose it is.
        given: Inputs of two sizes: what differs between them is dynamic.
    """
    looked = onnx_graph.looked_at(read(file), subject, given)
    for room in ROOMS:
        yield from room.mutants(looked)
