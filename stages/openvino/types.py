"""What an IR stores its weights and runs its operations in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.formats.graphs import CONSTANT, TYPES, Built, Node
from stages.openvino import convert as ir
from stages.openvino import library as openvino_library

REQUIRES = ("openvino",)


def read(path: Path, extensions: Sequence[str]) -> Built:
    return _of_model(openvino_library.extended(extensions).read_model(path))


def _of_model(model: Any) -> Built:
    nodes: dict[str, Node] = {}
    inner: list[Built] = []
    for op in model.get_ordered_ops():
        sources = [v.get_node().get_friendly_name() for v in op.input_values()]
        told = op.output(0).get_element_type().to_string() if op.get_output_size() else ""
        elements = math.prod(op.output(0).get_shape()) if op.get_type_name() == CONSTANT else 0
        nodes[op.get_friendly_name()] = Node(op.get_type_name(), sources, TYPES.get(told, told), elements)
        inner += map(_of_model, ir.bodies(op))
    results = {name for node in nodes.values() if node.type == "Result" for name in node.sources}
    return Built(nodes, results, inner)
