"""Names of values inside a graph."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from stages.interface.interface import Interface


def free_ports(graph: Any) -> None:
    """Renames the values inside a graph that have the name of one of its inputs or outputs.

    torch's dynamo exporter names a value after its operator, such as "mean". If an output is called "mean" too, no
    runtime loads the graph.

    Args:
        graph: An onnx_ir.Graph: its values are objects, so a new name changes nothing else.
    """
    ports = [*graph.inputs, *graph.outputs]
    inside = [v for v in _values(graph) if not any(v is port for port in ports)]
    port_names = {port.name for port in ports}
    used = {v.name for v in inside} | port_names
    for value in inside:
        if value.name in port_names:
            names = (f"{value.name}_{number}" for number in itertools.count(1))
            value.name = next(name for name in names if name not in used)
            used.add(value.name)


def restore_ports(graph: Any, interface: Interface) -> None:
    """Gives a graph the inputs and outputs of its interface, where the exporter lost them.

    torch's TorchScript exporter leaves out unused inputs, and the names of constant outputs.

    Args:
        graph: An onnx.GraphProto, whose outputs are in the interface's order.
        interface: The model's.
    """
    import numpy as np
    from onnx import helper

    for place, (name, spec) in enumerate(interface.inputs.items()):
        if name not in [port.name for port in graph.input]:
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
            graph.input.insert(place, helper.make_tensor_value_info(name, kind, spec.shape))
    if len(graph.output) == len(interface.outputs):
        for port, name in zip(graph.output, interface.outputs, strict=True):
            if port.name != name:
                graph.node.append(helper.make_node("Identity", [port.name], [name]))
                port.name = name


def _values(graph: Any) -> Iterator[Any]:
    """Every value of a graph and of those inside its nodes, weights included."""
    yield from list(graph.initializers.values())
    for node in graph:
        yield from node.outputs
        for attribute in node.attributes.values():
            for inner in _graphs(attribute):
                yield from inner.inputs
                yield from _values(inner)


def _graphs(attribute: Any) -> list[Any]:
    import onnx_ir

    if attribute.type is onnx_ir.AttributeType.GRAPH:
        return [attribute.value]
    return list(attribute.value) if attribute.type is onnx_ir.AttributeType.GRAPHS else []
