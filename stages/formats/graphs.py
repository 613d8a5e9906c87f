"""What a built graph stores its weights and runs its operations in, read from its files."""

from __future__ import annotations

import collections
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline import formats
from pipeline.artifact import Artifact, Kind

log = logging.getLogger(__name__)

CONSTANT = "Constant"
INTEGERS = ("int8", "int4")
PALETTES = tuple(f"palette{bits}" for bits in (1, 2, 3, 4, 6, 8))  # weights that are places in a table of values
SPARSE = "sparse_"  # before the type of weights that are not zero, where the others are not stored
# Operations that weights are multiplied in: where the time and the memory go. By ONNX's names, then OpenVINO's.
WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul", "MatMulNBits", "ConvInteger", "MatMulInteger"}
WEIGHTED |= {f"{group}Convolution{back}" for group in ("", "Group") for back in ("", "BackpropData")}
WEIGHTED |= {"conv", "conv_transpose", "linear", "matmul"}  # by MIL's
# Operations that turn quantised values back into floating-point numbers.
DEQUANTIZE = {"DequantizeLinear", "FakeQuantize"}
# Operations that move values and change none: quantised values stay quantised.
MOVES = {
    *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Concat", "Slice", "StridedSlice", "Split", "Pad"),
    *("VariadicSplit", "MaxPool", "DepthToSpace", "SpaceToDepth", "ShuffleChannels", "Identity", "Gather", "Tile"),
    *("Expand", "Broadcast", "ReduceMax"),
}
# Operations that look up rows of a weight.
LOOKED_UP = {"Gather", "gather"}
# Operations that select one matrix of a stack, such as the matrix of one expert.
STACKED = {"GatherND", "gather_nd"}
# Operations that may stand between a weight and the operation that uses it.
TURNS = {"Convert", "Cast", "Reshape", "Transpose"}
PREPARES = {*TURNS, "Subtract", "Multiply"}
# The same type by every vendor's name; signed and unsigned are one.
TYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64", "u8": "int8", "i8": "int8"}
TYPES |= {"u4": "int4", "i4": "int4", "uint8": "int8", "uint4": "int4"}
FLOATS = ("float64", "float32", "bfloat16", "float16")
WEIGHTS = (*FLOATS, *INTEGERS, *PALETTES)
ITS_OWN = "narrow"  # the fact with the types narrower than float32 that a file has itself, by weights and operations


@dataclass(frozen=True)
class Node:
    """An operation, or a constant.

    Args:
        type: The type, by the format's own name; CONSTANT for a weight.
        sources: The names of the nodes that feed it, in order.
        dtype: The type of its first output.
        elements: For a constant, how many numbers it has.
    """

    type: str
    sources: Sequence[str]
    dtype: str
    elements: int = 0


NONE = Node("", (), "")


@dataclass(frozen=True)
class NodeGraph:
    """A graph as nodes by name, every node after those that feed it.

    Args:
        nodes: All of them.
        outputs: By each name of an output, the name of the node that gives it.
        inner: The graphs within operations: the branches of an If, the body of a Loop.
    """

    nodes: Mapping[str, Node]
    outputs: Mapping[str, str] = field(default_factory=dict)
    inner: Sequence[NodeGraph] = ()

    @property
    def results(self) -> Collection[str]:
        """The names of the nodes that compute the graph's outputs."""
        return {*self.outputs.values()}

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
        """How many of the operations with weights compute in each type.

        Args:
            without: Names of operations that are not counted.
        """
        weighted = [name for name, node in self.nodes.items() if node.type in WEIGHTED and name not in without]
        counts = collections.Counter(map(self.computes_in, weighted))
        for graph in self.inner:
            counts.update(graph.operations())
        return dict(counts.most_common())

    def holding(self, types: Collection[str], without: Collection[str] = ()) -> dict[str, int]:
        """How many numbers of some types the weights of each operation have; operations that have none are left out.

        Args:
            types: The types that are counted.
            without: Names of operations that are not counted.
        """
        counts: dict[str, int] = {}
        for name, node in self.nodes.items():
            if node.type in WEIGHTED | LOOKED_UP | STACKED and name not in without:
                counts[name] = sum(self.nodes[w].elements for w in self._weights(name) if self.nodes[w].dtype in types)
        return {name: count for name, count in counts.items() if count}

    def shares_weights(self, one: str, other: str) -> bool:
        """Whether two operations use the same weight, even where one of them transposes or reshapes it."""
        return bool(self._weights(one) & self._weights(other))

    def head(self, output: str) -> str | None:
        """The last operation with weights before an output; None where there is none."""
        name = self.outputs.get(output)
        while name is not None and name in self.nodes and self.nodes[name].type not in WEIGHTED:
            name = next((s for s in self.nodes[name].sources if self.nodes.get(s, NONE).type != CONSTANT), None)
        return name if name in self.nodes else None

    @property
    def narrow(self) -> dict[str, list[str]]:
        """The types narrower than float32, of the weights and of the operations."""
        counts_by_part = {"weights": self.weights(), "operations": self.operations()}
        return {what: [t for t in counts if t not in ("float64", "float32")] for what, counts in counts_by_part.items()}

    def computes_in(self, name: str) -> str:
        """int8 where both operands are whole numbers or were quantised, otherwise the type of the result."""
        node = self.nodes[name]
        if node.type in ("ConvInteger", "MatMulInteger"):
            return "int8"
        both = node.sources[:2]
        return "int8" if len(both) == 2 and all(map(self._is_quantised, both)) else node.dtype

    def is_lowered(self, name: str) -> bool:
        """Whether an operand or the result of an operation has fewer bits than float32."""
        node = self.nodes[name]
        if node.type in (CONSTANT, "Convert", "Cast", *DEQUANTIZE, "QuantizeLinear") or self._is_decompressed(name):
            return False
        return node.dtype in ("float16", "bfloat16") or any(map(self._is_quantised, node.sources[:2]))

    def _weights(self, name: str) -> set[str]:
        """The constants that are an operation's operands, also where they are transposed, reshaped or dequantised."""
        constants = set()
        for source in self.nodes[name].sources:
            while (node := self.nodes.get(source, NONE)).type in TURNS | DEQUANTIZE or self._is_decompressed(source):
                if node.type == CONSTANT:
                    break
                source = node.sources[0]
            if node.type == CONSTANT:
                constants.add(source)
        return constants

    def _constants(self, name: str) -> Iterator[str]:
        """The constants that an operation uses, directly or through operations that only prepare them."""
        for source in self.nodes[name].sources:
            node = self.nodes.get(source)
            if node is not None and node.type == CONSTANT:
                yield source
            elif node is not None and node.type in (*PREPARES, *DEQUANTIZE):
                yield from self._constants(source)

    def _is_quantised(self, name: str) -> bool:
        """Whether a value is quantised: rounded to few values, or computed from integers that stand for them."""
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
        """Whether this is (integers - zero point) * scale, as OpenVINO writes it."""
        node = self.nodes.get(name)
        if node is None or node.type not in ("Convert", "Subtract", "Multiply", "Reshape", CONSTANT):
            return False
        return node.dtype in INTEGERS if node.type == CONSTANT else self._is_decompressed(node.sources[0])

    def _parameters(self, node: Node) -> Iterator[str]:
        """The constants that say how to read another value: scales, zero points and ranges."""
        if node.type in (*DEQUANTIZE, "QuantizeLinear", "MatMulNBits"):
            beyond = node.sources[2:] if node.type == "MatMulNBits" else node.sources[1:]
        elif node.type in ("Multiply", "Subtract") and self._is_decompressed(node.sources[0]):
            beyond = node.sources[1:]
        else:
            return
        for name in beyond:
            parameter = self.nodes.get(name)
            while parameter is not None and parameter.type == "Convert":
                name = parameter.sources[0]
                parameter = self.nodes.get(name)
            yield name


def read(artifact: Artifact, extensions: Sequence[str] = ()) -> NodeGraph:
    """The nodes of an artifact of one of `kinds`.

    Args:
        artifact: A stored one.
        extensions: Operations that OpenVINO does not have by itself.
    """
    built: NodeGraph = formats.part(artifact.kind, "types").read(artifact.file, extensions)
    return built


def its_own(artifact: Artifact) -> list[str]:
    """The types narrower than float32 among the weights of the file that an artifact was made from."""
    narrow: Mapping[str, list[str]] = artifact.facts.get(ITS_OWN, {})
    return narrow.get("weights", [])


def kinds() -> frozenset[Kind]:
    """The kinds whose graph can be read."""
    return formats.kinds("types")


def modules(kind: Kind) -> tuple[str, ...]:
    """The importable modules that are needed to read a kind."""
    return tuple(formats.part(kind, "types").REQUIRES)
