"""The nodes of a graph, each as its own model: to find the one that crashes a native library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stages.onnx import file as onnx_file

if TYPE_CHECKING:
    import onnx

# From torch's exporters: the line of the model's code that a node comes from.
TRACE = "pkg.torch.onnx.stack_trace"


def split(path: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """A file for each node that differs from those before it. Values from other nodes become the model's inputs.

    A node with inputs whose types cannot be inferred is left out.

    Args:
        path: The graph.
        folder: For the files, each in its own folder.

    Yields a description of the node for messages, and its file.
    """
    from onnx import helper, shape_inference

    model = shape_inference.infer_shapes(onnx_file.read(path))
    graph = model.graph
    types = {v.name: v for v in (*graph.value_info, *graph.input, *graph.output)}
    constants = {i.name: i for i in graph.initializer}
    constants |= {
        n.output[0]: a.t for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"
    }
    signatures = set()
    for node in graph.node:
        names = list(dict.fromkeys(name for name in (*node.input, *_outer(node)) if name))
        inputs = [types[n] for n in names if n not in constants and n in types]
        if node.op_type == "Constant" or len(inputs) < sum(n not in constants for n in names):
            continue
        if (signature := _signature(node, inputs)) in signatures:
            continue
        signatures.add(signature)
        initialisers = []
        for name in names:
            if name in constants:
                initialisers.append(type(constants[name]).FromString(constants[name].SerializeToString()))
                initialisers[-1].name = name
        results = [types.get(name) or helper.make_empty_tensor_value_info(name) for name in node.output if name]
        piece = helper.make_model(
            helper.make_graph([node], "piece", inputs, results, initialisers),
            opset_imports=model.opset_import,
            ir_version=model.ir_version,
            functions=model.functions,
        )
        place = folder / str(len(signatures))
        place.mkdir()
        yield describe(node), onnx_file.write(piece, place)


def describe(node: onnx.NodeProto) -> str:
    """A node in words: its operator, its name, and the last line of the model's code in its stack trace."""
    trace = next((p.value for p in node.metadata_props if p.key == TRACE), "")
    lines = [line.strip() for line in trace.splitlines() if line.strip().startswith("File ")]
    return f"{node.op_type} '{node.name or node.output[0]}'" + (f" ({lines[-1]})" if lines else "")


def _outer(node: onnx.NodeProto) -> Iterator[str]:
    """The outer values that the graphs inside a node use."""
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            inside = {v.name for v in (*graph.input, *graph.initializer)} | {o for n in graph.node for o in n.output}
            read = {i for n in graph.node for i in (*n.input, *_outer(n))} | {o.name for o in graph.output}
            yield from sorted(read - inside - {""})


def _signature(node: onnx.NodeProto, inputs: list[onnx.ValueInfoProto]) -> tuple[object, ...]:
    attributes = sorted(a.SerializeToString(deterministic=True) for a in node.attribute)
    return node.domain, node.op_type, *attributes, *(v.type.SerializeToString(deterministic=True) for v in inputs)
