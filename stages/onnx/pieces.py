"""A graph's nodes one by one, each as a model of its own: to find the one that a native library dies of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stages.onnx import file as onnx_file

if TYPE_CHECKING:
    import onnx

# By torch's exporters: where in the model's code a node comes from.
TRACE = "pkg.torch.onnx.stack_trace"


def alone(path: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """A file for each node that is unlike those before it, with what other nodes compute as the model's inputs.

    A node whose inputs' types cannot be inferred is left out.

    Args:
        path: The graph.
        folder: Where the files go, each in a folder of its own.

    Yields the node as a message names it, and its file.
    """
    from onnx import helper, shape_inference

    model = shape_inference.infer_shapes(onnx_file.read(path))
    graph = model.graph
    types = {v.name: v for v in (*graph.value_info, *graph.input, *graph.output)}
    constants = {i.name: i for i in graph.initializer}
    constants |= {
        n.output[0]: a.t for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"
    }
    seen = set()
    for node in graph.node:
        names = list(dict.fromkeys(name for name in (*node.input, *_outer(node)) if name))
        given = [types[n] for n in names if n not in constants and n in types]
        if node.op_type == "Constant" or len(given) < sum(n not in constants for n in names):
            continue
        if (likeness := _likeness(node, given)) in seen:
            continue
        seen.add(likeness)
        held = []
        for name in names:
            if name in constants:
                held.append(type(constants[name]).FromString(constants[name].SerializeToString()))
                held[-1].name = name
        results = [types.get(name) or helper.make_empty_tensor_value_info(name) for name in node.output if name]
        piece = helper.make_model(
            helper.make_graph([node], "piece", given, results, held),
            opset_imports=model.opset_import,
            ir_version=model.ir_version,
            functions=model.functions,
        )
        place = folder / str(len(seen))
        place.mkdir()
        yield named(node), onnx_file.write(piece, place)


def named(node: onnx.NodeProto) -> str:
    """A node as a message names it: its operator, its name, and the last line of the model's code that it has."""
    trace = next((p.value for p in node.metadata_props if p.key == TRACE), "")
    lines = [line.strip() for line in trace.splitlines() if line.strip().startswith("File ")]
    return f"{node.op_type} '{node.name or node.output[0]}'" + (f" ({lines[-1]})" if lines else "")


def _outer(node: onnx.NodeProto) -> Iterator[str]:
    """What the graphs inside a node read from around it."""
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            inside = {v.name for v in (*graph.input, *graph.initializer)} | {o for n in graph.node for o in n.output}
            read = {i for n in graph.node for i in (*n.input, *_outer(n))} | {o.name for o in graph.output}
            yield from sorted(read - inside - {""})


def _likeness(node: onnx.NodeProto, given: list[onnx.ValueInfoProto]) -> tuple[object, ...]:
    attributes = sorted(a.SerializeToString(deterministic=True) for a in node.attribute)
    return node.domain, node.op_type, *attributes, *(v.type.SerializeToString(deterministic=True) for v in given)
