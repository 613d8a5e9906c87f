"""The types that an IR stores its weights in and runs its operations in."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from stages.formats.graphs import CONSTANT, TYPES, Node, NodeGraph
from stages.openvino import convert as ir
from stages.openvino import library as openvino_library

REQUIRES = ("openvino",)


def read(path: Path, extensions: Sequence[str]) -> NodeGraph:
    return of_model(openvino_library.core_with(extensions).read_model(path))


def matrices(path: Path, extensions: Sequence[str], shapes: Collection[tuple[int, ...]]) -> Iterator[Any]:
    """The floating-point constants that have one of some shapes, as arrays."""
    model = openvino_library.core_with(extensions).read_model(path)
    yield from _matrices(model, shapes)


def _matrices(model: Any, shapes: Collection[tuple[int, ...]]) -> Iterator[Any]:
    for op in model.get_ordered_ops():
        is_float = op.get_type_name() == CONSTANT and op.output(0).get_element_type().to_string() in ("f32", "f16")
        if is_float and tuple(op.output(0).get_shape()) in shapes:
            yield op.get_data()
        for body in ir.bodies(op):
            yield from _matrices(body, shapes)


def of_model(model: Any) -> NodeGraph:
    """The nodes of an openvino.Model."""
    nodes: dict[str, Node] = {}
    inner: list[NodeGraph] = []
    for op in model.get_ordered_ops():
        sources = [v.get_node().get_friendly_name() for v in op.input_values()]
        dtype = op.output(0).get_element_type().to_string() if op.get_output_size() else ""
        elements = math.prod(op.output(0).get_shape()) if op.get_type_name() == CONSTANT else 0
        nodes[op.get_friendly_name()] = Node(op.get_type_name(), sources, TYPES.get(dtype, dtype), elements)
        inner += map(of_model, ir.bodies(op))
    outputs = {
        name: nodes[op.get_friendly_name()].sources[0]
        for op in model.get_results()
        for name in (op.input_value(0).get_names() or {op.get_friendly_name()})
    }
    return NodeGraph(nodes, outputs, inner)
