"""The operations of an ONNX graph, to be looked at."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.formats.operations import CONSTANT, INPUT, OUTPUT, Operation, short, typed, without_constants
from stages.onnx import file as onnx_file

LARGE = 2**20  # bytes; larger weights decide no shape


def operations(path: Path) -> list[Operation]:
    """The operations of a file, each after those that feed it; those of graphs inside operations are left out."""
    import onnx

    model = onnx_file.read(path, weights=False)
    for tensor in onnx_file.tensors(model):
        if len(tensor.raw_data) > LARGE:
            tensor.ClearField("raw_data")
    with contextlib.suppress(Exception):  # an operator that onnx does not know: shapes that are not known are left out
        model = onnx.shape_inference.infer_shapes(model)
    return without_constants(_operations(model.graph, onnx_file.inputs(model)))


def _operations(graph: Any, inputs: Any) -> Iterator[Operation]:
    from onnx import helper

    gives = {v.name: _typed(v) for v in (*graph.value_info, *graph.output, *graph.input)}
    makers: dict[str, str] = {}
    for tensor in graph.initializer:
        makers[tensor.name] = tensor.name
        yield Operation(tensor.name, CONSTANT, (), typed(_dtype(tensor.data_type), tensor.dims))
    for value in inputs:
        makers[value.name] = value.name
        yield Operation(value.name, INPUT, (), gives[value.name])
    for node in graph.node:
        name = node.name or node.output[0]
        makers |= dict.fromkeys(node.output, name)
        sources = [makers[i] for i in node.input if i in makers]
        if node.op_type == "Constant":
            tensor = next((a.t for a in node.attribute if a.name == "value"), None)
            said = typed(_dtype(tensor.data_type), tensor.dims) if tensor is not None else ""
            yield Operation(name, CONSTANT, (), said)
            continue
        attributes = {a.name: _shown(a, helper.get_attribute_value(a)) for a in node.attribute}
        yield Operation(name, node.op_type, sources, gives.get(node.output[0], ""), attributes)
    for value in graph.output:
        source = makers.get(value.name)
        yield Operation(f"output {value.name}", OUTPUT, [source] if source else [], gives[value.name])


def _shown(attribute: Any, value: Any) -> str:
    if attribute.HasField("t"):
        return typed(_dtype(value.data_type), value.dims)
    return f"a graph of {len(value.node)} nodes" if attribute.HasField("g") else short(value)


def _typed(value: Any) -> str:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return typed(_dtype(tensor.elem_type), None) if tensor.elem_type else ""
    sizes = [d.dim_param or (d.dim_value if d.HasField("dim_value") else None) for d in tensor.shape.dim]
    return typed(_dtype(tensor.elem_type), sizes)


def _dtype(number: int) -> str:
    import onnx

    name: str = onnx.TensorProto.DataType.Name(number).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)
