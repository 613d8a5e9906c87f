"""An ONNX graph to plant faults in: its constants, its edges with what was seen on them, and changes of one place."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from benchmarks.check.faults import arrays
from benchmarks.check.models.subjects import Subject

Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Looked:
    """A right graph, and every value in it at two sizes.

    Args:
        model: The graph; changed never.
        subject: Whose it is.
        values: The values on each edge, at two sizes.
    """

    model: Any
    subject: Subject
    values: tuple[Arrays, Arrays] = field(repr=False)

    @cached_property
    def constants(self) -> dict[str, Any]:
        """Arrays by name, of initializers and of Constant nodes."""
        return constants(self.model)

    @property
    def nodes(self) -> list[tuple[int, Any]]:
        """The nodes of the graph itself with their places, but for constants."""
        return [(i, n) for i, n in enumerate(self.model.graph.node) if n.op_type != "Constant"]

    def is_like(self, one: str, other: str) -> bool:
        """Whether two edges have the same type, and the same shape at both sizes."""
        return arrays.alike(self.values, one, other)

    def floats(self) -> list[str]:
        """The edges that hold float32 numbers and are no constants."""
        return [n for n, v in self.values[0].items() if v.dtype == np.float32 and v.size and n not in self.constants]


def looked_at(model: Any, subject: Subject, two_inputs: tuple[Arrays, Arrays]) -> Looked:
    """A graph after two runs in which every edge is an output."""
    import onnxruntime

    opened = copy.deepcopy(model)
    outputs = {o.name for o in opened.graph.output}
    edges = [o for n in opened.graph.node for o in n.output if o and o not in outputs]
    opened.graph.output.extend(onnx.ValueInfoProto(name=e) for e in edges)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(opened.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]

    def run(inputs: Arrays) -> Arrays:
        values = dict(zip(names, session.run(names, dict(inputs)), strict=True))
        return {**inputs, **{n: v for n, v in values.items() if isinstance(v, np.ndarray)}}

    return Looked(model, subject, (run(two_inputs[0]), run(two_inputs[1])))


def constants(model: Any) -> dict[str, Any]:
    by_name = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and (tensor := next((a.t for a in node.attribute if a.name == "value"), None)):
            by_name[node.output[0]] = numpy_helper.to_array(tensor)
    return by_name


def add_constant(model: Any, name: str, values: Any) -> str:
    model.graph.initializer.append(
        numpy_helper.from_array(np.ascontiguousarray(values).reshape(np.shape(values)), name)
    )
    return name


def insert(model: Any, edge: str, nodes: Sequence[Any]) -> None:
    """Nodes between an edge and all that uses it; they take the edge, and the last one gives what takes its place."""
    last = nodes[-1].output[0]
    is_output = any(o.name == edge for o in model.graph.output)
    maker = next((i for i, n in enumerate(model.graph.node) if edge in n.output), -1)
    before = f"{edge}__right"
    if is_output:
        for i, name in enumerate(model.graph.node[maker].output):
            if name == edge:
                model.graph.node[maker].output[i] = before
        for node in nodes:
            node.input[:] = [before if n == edge else n for n in node.input]
            node.output[:] = [edge if n == last else n for n in node.output]
    for node in () if is_output else model.graph.node:
        node.input[:] = [last if n == edge else n for n in node.input]
    for step, node in enumerate(nodes, 1):
        model.graph.node.insert(maker + step, node)


def attribute(node: Any, name: str, default: Any = None) -> Any:
    match = next((a for a in node.attribute if a.name == name), None)
    value = default if match is None else helper.get_attribute_value(match)
    return value.decode() if isinstance(value, bytes) else value


def set_attribute(node: Any, name: str, value: Any) -> None:
    others = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend([*others, helper.make_attribute(name, value)])
