"""The types that an ML Program stores its weights in and runs its operations in."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.coreml import package
from stages.coreml.mil import read as mil_read
from stages.coreml.mil import schema
from stages.formats.graphs import CONSTANT, SPARSE, TYPES, Node, NodeGraph

REQUIRES = ("coremltools",)


def read(path: Path, extensions: Sequence[str]) -> NodeGraph:
    spec = package.spec_of(path)
    functions = [_of_block(block) for f in spec.mlProgram.functions.values() for block in _blocks(f)]
    return replace(functions[0], inner=[*functions[0].inner, *functions[1:]])


def matrices(path: Path, extensions: Sequence[str], shapes: Collection[tuple[int, ...]]) -> Iterator[Any]:
    """The floating-point constants that have one of some shapes, as arrays."""
    for function in mil_read.read(path).functions.values():
        for operation in function.block.walk():
            constant = operation.attributes.get("val") if operation.type == "const" else None
            if constant is not None and constant.type.shape in shapes and constant.type.dtype in ("float32", "float16"):
                yield constant.load()


def _blocks(function: Any) -> Sequence[Any]:
    return [*function.block_specializations.values()]


def _of_block(block: Any) -> NodeGraph:
    """One block of an ML Program. An operation that decompresses weights counts as a constant of their type."""
    nodes: dict[str, Node] = {}
    producers: dict[str, str] = {}
    inner: list[NodeGraph] = []
    for op in block.operations:
        if not op.outputs:  # it writes a state
            continue
        name = op.attributes["name"].immediateValue.tensor.strings.values[0] or op.outputs[0].name
        sources = [producers.get(a.name, a.name) for bound in op.inputs.values() for a in bound.arguments if a.name]
        tensor_type = op.outputs[0].type.tensorType
        elements = math.prod(d.constant.size for d in tensor_type.dimensions)
        if op.type == "const":
            nodes[name] = Node(CONSTANT, (), _type(tensor_type), elements)
        elif op.type.startswith("constexpr_"):
            nodes[name] = Node(CONSTANT, (), _compressed(op, [nodes[s] for s in sources if s in nodes]), elements)
            for part in sources:
                nodes.pop(part, None)
        else:
            nodes[name] = Node(op.type, sources, _type(tensor_type))
        producers |= {output.name: name for output in op.outputs}
        inner += [_of_block(b) for b in op.blocks]
    return NodeGraph(nodes, {name: producers.get(name, name) for name in block.outputs}, inner)


def _compressed(op: Any, sources: Sequence[Node]) -> str:
    """The type of the weights that a constexpr operation decompresses: of its data, or of an operation before it."""
    tensors = {n: v.type.tensorType for n, v in op.attributes.items()}
    tensors |= {n: a.value.type.tensorType for n, bound in op.inputs.items() for a in bound.arguments if not a.name}
    before = next((node.dtype for node in sources), "")
    if "lut" in tensors or "lut" in op.inputs:
        entries = tensors["lut"].dimensions
        return f"palette{(entries[-2] if len(entries) > 1 else entries[0]).constant.size.bit_length() - 1}"
    if op.type == "constexpr_sparse_to_dense":
        return SPARSE + (before or _type(tensors["nonzero_data"]))
    data = next((tensors[n] for n in ("quantized_data", "data", "nonzero_data") if n in tensors), None)
    return before if data is None else _type(data)


def _type(tensor: Any) -> str:
    name = schema.dtype(tensor)
    return TYPES.get(name, name)
