"""What a built graph stores its weights and runs its operations in, read from its files."""

from __future__ import annotations

import collections
import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.artifact import Artifact, Kind
from stages.coreml import package
from stages.onnx import file as onnx_file
from stages.openvino import convert as ir
from stages.openvino import library as openvino_library

log = logging.getLogger(__name__)

CONSTANT = "Constant"
INTEGERS = ("int8", "int4")
PALETTES = tuple(f"palette{bits}" for bits in (1, 2, 3, 4, 6, 8))  # weights that are places in a table of values
SPARSE = "sparse_"  # before the type of weights that are not zero, where the others are not stored
# Operations that weights are multiplied in: where the time and the memory go. By ONNX's names, then OpenVINO's.
WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul", "MatMulNBits", "ConvInteger", "MatMulInteger"}
WEIGHTED |= {f"{group}Convolution{back}" for group in ("", "Group") for back in ("", "BackpropData")}
WEIGHTED |= {"conv", "conv_transpose", "linear", "matmul"}  # by MIL's
# What gives values back that had passed through few bits.
DEQUANTIZE = {"DequantizeLinear", "FakeQuantize"}
# What moves values about and leaves each as it is, so that quantised ones stay so.
MOVES = {
    *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Concat", "Slice", "StridedSlice", "Split", "Pad"),
    *("VariadicSplit", "MaxPool", "DepthToSpace", "SpaceToDepth", "ShuffleChannels", "Identity", "Gather", "Tile"),
    *("Expand", "Broadcast", "ReduceMax"),
}
# What stands between a weight and the operation that it is for.
PREPARES = {"Convert", "Cast", "Subtract", "Multiply", "Reshape", "Transpose"}
# The same type by every vendor's name; signed and unsigned are one.
TYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64", "u8": "int8", "i8": "int8"}
TYPES |= {"u4": "int4", "i4": "int4", "uint8": "int8", "uint4": "int4"}
FLOATS = ("float64", "float32", "bfloat16", "float16")
WEIGHTS = (*FLOATS, *INTEGERS, *PALETTES)


@dataclass(frozen=True)
class Node:
    """An operation, or a constant.

    Args:
        type: By the format's own name; CONSTANT for a weight.
        sources: The names of the nodes that feed it, in order.
        dtype: Of its first output.
        elements: Of a constant, how many numbers.
    """

    type: str
    sources: Sequence[str]
    dtype: str
    elements: int = 0


@dataclass(frozen=True)
class Built:
    """A graph as nodes by name, every node after those that feed it.

    Args:
        nodes: All of them.
        results: The names of those that give what the graph answers.
        inner: The graphs within operations: the branches of an If, the body of a Loop.
    """

    nodes: Mapping[str, Node]
    results: Collection[str] = ()
    inner: Sequence[Built] = ()

    def weights(self, without: Collection[str] = ()) -> dict[str, int]:
        """How many numbers of the weights are of each type; scales, zero points and ranges are no weights.

        Args:
            without: Names of operations whose weights are not counted.
        """
        aside = {name for node in self.nodes.values() for name in self._parameters(node)}
        aside |= {name for operation in without for name in self._constants(operation)}
        counts: collections.Counter[str] = collections.Counter()
        for name, node in self.nodes.items():
            if node.type == CONSTANT and name not in aside and node.dtype.removeprefix(SPARSE) in WEIGHTS:
                counts[node.dtype] += node.elements
        for graph in self.inner:
            counts.update(graph.weights())
        return dict(counts.most_common())

    def operations(self, without: Collection[str] = ()) -> dict[str, int]:
        """How many of the operations with weights compute in each type, but for some names."""
        weighted = [name for name, node in self.nodes.items() if node.type in WEIGHTED and name not in without]
        counts = collections.Counter(map(self.computes_in, weighted))
        for graph in self.inner:
            counts.update(graph.operations())
        return dict(counts.most_common())

    def computes_in(self, name: str) -> str:
        """int8 where both operands are whole numbers or were quantised, otherwise the type of the result."""
        node = self.nodes[name]
        if node.type in ("ConvInteger", "MatMulInteger"):
            return "int8"
        both = node.sources[:2]
        return "int8" if len(both) == 2 and all(map(self._is_quantised, both)) else node.dtype

    def is_lowered(self, name: str) -> bool:
        """Whether an operation meets fewer bits than float32 has: in an operand, or in its result."""
        node = self.nodes[name]
        if node.type in (CONSTANT, "Convert", "Cast", *DEQUANTIZE, "QuantizeLinear") or self._is_decompressed(name):
            return False
        return node.dtype in ("float16", "bfloat16") or any(map(self._is_quantised, node.sources[:2]))

    def _constants(self, name: str) -> Iterator[str]:
        """The constants that an operation is given, itself or by what only prepares them."""
        for source in self.nodes[name].sources:
            node = self.nodes.get(source)
            if node is not None and node.type == CONSTANT:
                yield source
            elif node is not None and node.type in (*PREPARES, *DEQUANTIZE):
                yield from self._constants(source)

    def _is_quantised(self, name: str) -> bool:
        """Whether a value is one of few: it was rounded to them, or is made of whole numbers that stand for them."""
        node = self.nodes.get(name)
        if node is None or node.type == CONSTANT:
            return node is not None and node.dtype in INTEGERS
        if node.type in DEQUANTIZE:
            return True
        if node.type == "Concat":
            return all(map(self._is_quantised, node.sources))
        if node.type in MOVES:
            return self._is_quantised(node.sources[0])
        return self._is_decompressed(name)

    def _is_decompressed(self, name: str) -> bool:
        """Whether this is (whole numbers - zero point) * scale, as OpenVINO spells it."""
        node = self.nodes.get(name)
        if node is None or node.type not in ("Convert", "Subtract", "Multiply", "Reshape", CONSTANT):
            return False
        return node.dtype in INTEGERS if node.type == CONSTANT else self._is_decompressed(node.sources[0])

    def _parameters(self, node: Node) -> Iterator[str]:
        """The constants that say how another value is to be read."""
        if node.type in (*DEQUANTIZE, "QuantizeLinear", "MatMulNBits"):
            beyond = node.sources[2:] if node.type == "MatMulNBits" else node.sources[1:]
        elif node.type in ("Multiply", "Subtract") and self._is_decompressed(node.sources[0]):
            beyond = node.sources[1:]
        else:
            return
        for name in beyond:
            held = self.nodes.get(name)
            while held is not None and held.type == "Convert":
                name = held.sources[0]
                held = self.nodes.get(name)
            yield name


def of(artifact: Artifact, extensions: Sequence[str] = ()) -> Built:
    """The nodes of an artifact of one of KINDS."""
    return KINDS[artifact.kind](artifact.file, extensions)


def _of_ir(path: Path, extensions: Sequence[str]) -> Built:
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


def _of_onnx(path: Path, extensions: Sequence[str]) -> Built:
    import onnx

    model = onnx_file.read(path, weights=False)
    try:
        model = onnx.shape_inference.infer_shapes(model)
    except Exception:  # an operator that onnx does not know: what it gives is taken for what it is given
        log.info("the types in %s cannot be inferred", path.name, exc_info=True)
    return _of_graph(model.graph, {})


def _of_graph(graph: Any, outer: Mapping[str, str]) -> Built:
    """One graph of an ONNX file; of the values of those around it, `outer` has the types."""
    types = {v.name: _onnx_type(v.type.tensor_type.elem_type) for v in (*graph.value_info, *graph.output, *graph.input)}
    types = {**outer, **types}
    nodes: dict[str, Node] = {}
    made_by: dict[str, str] = {}
    inner: list[Built] = []
    for tensor in graph.initializer:
        nodes[tensor.name] = Node(CONSTANT, (), _onnx_type(tensor.data_type), math.prod(tensor.dims))
        made_by[tensor.name] = tensor.name
        types[tensor.name] = nodes[tensor.name].dtype
    for node in graph.node:
        name = node.name or node.output[0]
        held = next((a.t for a in node.attribute if a.name == "value"), None) if node.op_type == CONSTANT else None
        if held is not None:
            nodes[name] = Node(CONSTANT, (), _onnx_type(held.data_type), math.prod(held.dims))
        else:
            sources = [made_by.get(i, i) for i in node.input if i]
            dtype = types.get(node.output[0], "") or next((types[i] for i in node.input if types.get(i)), "")
            nodes[name] = Node(node.op_type, sources, dtype)
            types.setdefault(node.output[0], dtype)
            if node.op_type == "MatMulNBits":  # its second operand is packed into bytes
                packed = nodes[sources[1]]
                bits = next((a.i for a in node.attribute if a.name == "bits"), 4)
                nodes[sources[1]] = Node(CONSTANT, (), f"int{bits}", packed.elements * 8 // bits)
        made_by |= dict.fromkeys(node.output, name)
        inner += [_of_graph(g, types) for a in node.attribute for g in (*([a.g] if a.HasField("g") else ()), *a.graphs)]
    return Built(nodes, {made_by.get(o.name, o.name) for o in graph.output}, inner)


def _onnx_type(number: int) -> str:
    import onnx

    name: str = onnx.TensorProto.DataType.Name(number).lower()
    name = {"float": "float32", "double": "float64"}.get(name, name)
    return TYPES.get(name, name)


def _of_coreml(path: Path, extensions: Sequence[str]) -> Built:
    spec = package.spec_of(path)
    functions = [_of_block(block) for f in spec.mlProgram.functions.values() for block in _blocks(f)]
    return replace(functions[0], inner=[*functions[0].inner, *functions[1:]])


def _blocks(function: Any) -> Sequence[Any]:
    return [*function.block_specializations.values()]


def _of_block(block: Any) -> Built:
    """One block of an ML Program; what gives compressed weights their values back is a constant of their type."""
    nodes: dict[str, Node] = {}
    made_by: dict[str, str] = {}
    inner: list[Built] = []
    for op in block.operations:
        name = op.attributes["name"].immediateValue.tensor.strings.values[0] or op.outputs[0].name
        sources = [made_by.get(a.name, a.name) for bound in op.inputs.values() for a in bound.arguments if a.name]
        told = op.outputs[0].type.tensorType
        elements = math.prod(d.constant.size for d in told.dimensions)
        if op.type == "const":
            nodes[name] = Node(CONSTANT, (), _mil_type(told), elements)
        elif op.type.startswith("constexpr_"):
            nodes[name] = Node(CONSTANT, (), _compressed(op, [nodes[s] for s in sources if s in nodes]), elements)
            for part in sources:
                nodes.pop(part, None)
        else:
            nodes[name] = Node(op.type, sources, _mil_type(told))
        made_by |= {output.name: name for output in op.outputs}
        inner += [_of_block(b) for b in op.blocks]
    return Built(nodes, {made_by.get(name, name) for name in block.outputs}, inner)


def _compressed(op: Any, sources: Sequence[Node]) -> str:
    """The type of weights that a constexpr operation gives back: of what it reads, or of one before it."""
    held = {n: v.type.tensorType for n, v in op.attributes.items()}
    held |= {n: a.value.type.tensorType for n, bound in op.inputs.items() for a in bound.arguments if not a.name}
    before = next((node.dtype for node in sources), "")
    if "lut" in held or "lut" in op.inputs:
        entries = held["lut"].dimensions
        return f"palette{(entries[-2] if len(entries) > 1 else entries[0]).constant.size.bit_length() - 1}"
    if op.type == "constexpr_sparse_to_dense":
        return SPARSE + (before or _mil_type(held["nonzero_data"]))
    data = next((held[n] for n in ("quantized_data", "data", "nonzero_data") if n in held), None)
    return before if data is None else _mil_type(data)


def _mil_type(tensor: Any) -> str:
    from coremltools.proto import MIL_pb2

    name: str = MIL_pb2.DataType.Name(tensor.dataType).lower()
    return TYPES.get(name, name)


KINDS: Mapping[Kind, Callable[[Path, Sequence[str]], Built]] = {
    Kind.ONNX: _of_onnx,
    Kind.OPENVINO: _of_ir,
    Kind.COREML: _of_coreml,
}
MODULES: Mapping[Kind, tuple[str, ...]] = {
    Kind.ONNX: ("onnx",),
    Kind.OPENVINO: ("openvino",),
    Kind.COREML: ("coremltools",),
}
