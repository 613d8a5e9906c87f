"""The types that an ONNX graph stores its weights in and runs its operations in."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.formats.graphs import CONSTANT, TYPES, Node, NodeGraph
from stages.onnx import file as onnx_file

REQUIRES = ("onnx",)
LARGE = 2**20  # bytes; larger weights are not loaded where only types are needed
log = logging.getLogger(__name__)


def read(path: Path, extensions: Sequence[str]) -> NodeGraph:
    import onnx

    model = onnx_file.read(path, weights=False)
    # No type depends on a large weight, and the inference has each in memory four times.
    for tensor in onnx_file.tensors(model):
        if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16) and len(tensor.raw_data) > LARGE:
            tensor.ClearField("raw_data")
    try:
        model = onnx.shape_inference.infer_shapes(model)
    except Exception:  # an operator unknown to onnx: its output counts as having the type of its input
        log.info("the types in %s cannot be inferred", path.name, exc_info=True)
    return _of_graph(model.graph, {})


def matrices(path: Path, extensions: Sequence[str], shapes: Collection[tuple[int, ...]]) -> Iterator[Any]:
    """The floating-point constants that have one of some shapes, as arrays."""
    import onnx

    model = onnx_file.read(path, weights=False)
    for tensor in onnx_file.tensors(model):
        if tuple(tensor.dims) in shapes and tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16):
            yield onnx_file.values(tensor, path.parent)


def _of_graph(graph: Any, outer: Mapping[str, str]) -> NodeGraph:
    """One graph of an ONNX file. `outer` has the types of the values around it."""
    types = {v.name: _onnx_type(v.type.tensor_type.elem_type) for v in (*graph.value_info, *graph.output, *graph.input)}
    types = {**outer, **types}
    nodes: dict[str, Node] = {}
    producers: dict[str, str] = {}
    inner: list[NodeGraph] = []
    for tensor in graph.initializer:
        nodes[tensor.name] = Node(CONSTANT, (), _onnx_type(tensor.data_type), math.prod(tensor.dims))
        producers[tensor.name] = tensor.name
        types[tensor.name] = nodes[tensor.name].dtype
    for node in graph.node:
        name = node.name or node.output[0]
        constant = next((a.t for a in node.attribute if a.name == "value"), None) if node.op_type == CONSTANT else None
        if constant is not None:
            nodes[name] = Node(CONSTANT, (), _onnx_type(constant.data_type), math.prod(constant.dims))
        else:
            sources = [producers.get(i, i) for i in node.input if i]
            dtype = types.get(node.output[0], "") or next((types[i] for i in node.input if types.get(i)), "")
            nodes[name] = Node(node.op_type, sources, dtype)
            types.setdefault(node.output[0], dtype)
            if node.op_type == "MatMulNBits":  # its second operand is packed into bytes
                packed = nodes[sources[1]]
                bits = next((a.i for a in node.attribute if a.name == "bits"), 4)
                nodes[sources[1]] = Node(CONSTANT, (), f"int{bits}", packed.elements * 8 // bits)
        producers |= dict.fromkeys(node.output, name)
        inner += [_of_graph(g, types) for a in node.attribute for g in (*([a.g] if a.HasField("g") else ()), *a.graphs)]
    return NodeGraph(nodes, {o.name: producers.get(o.name, o.name) for o in graph.output}, inner)


def _onnx_type(number: int) -> str:
    import onnx

    name: str = onnx.TensorProto.DataType.Name(number).lower()
    name = {"float": "float32", "double": "float64"}.get(name, name)
    return TYPES.get(name, name)
