"""Finds the ranges of integer inputs that an ONNX graph implies: ids of a table, classes, numbers it compares with.

Source: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import listed
from stages.onnx import file as onnx_file
from stages.onnx.opening import dimensions

if TYPE_CHECKING:
    import onnx

# Operators whose result has the same numbers as their input, or some of them.
KEEPS = {"Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile", "Slice"}
KEEPS |= {"Split", "Concat", "GatherElements", "GatherND"}
COMPARES = {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
LOGIC = {"Not", "And", "Or", "Xor"}
DEEP = 64  # operators between an input and its use, at most


@dataclass(frozen=True)
class ImpliedRange:
    """The integers that an input accepts.

    Args:
        low: The smallest.
        high: One more than the largest.
        why: In words, as "the 30522 rows of bert.embeddings.weight".
    """

    low: int
    high: int
    why: str

    @property
    def fill(self) -> dict[str, list[int]]:
        """As in a model's YAML; see stages/interface/fills.py."""
        return {"integers": [self.low, self.high]}


def infer(model: onnx.ModelProto) -> dict[str, ImpliedRange]:
    """The range of each integer input for which the graph implies one."""
    graph = _Graph(model)
    kinds = dimensions.types(model)
    whole = [name for name, kind in kinds.items() if kind.startswith(("int", "uint"))]
    ranges = {name: _narrowed(list(graph.uses(name))) for name in whole}
    return {name: range_ for name, range_ in ranges.items() if range_ is not None}


def _narrowed(uses: list[ImpliedRange]) -> ImpliedRange | None:
    """The range that all uses allow: that of tables, or of comparisons where there is no table."""
    tables = [u for u in uses if not isinstance(u, _Compared)]
    if tables:
        low, high = max(u.low for u in tables), min(u.high for u in tables)
        tightest = min(tables, key=lambda u: u.high)
        return ImpliedRange(low, high, tightest.why) if low < high else None
    if not uses:
        return None
    numbers = sorted({u.high - 1 for u in uses})
    # Values on both sides of each number: the graph takes another branch there.
    return ImpliedRange(numbers[0] - 1, numbers[-1] + 1, f"it is compared with {listed(map(str, numbers), 4)}")


class _Compared(ImpliedRange):
    """A number that an input is compared with: high is one more."""


class _Graph:
    """The users of each value, also in graphs inside nodes: names are unique over all graphs."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._users: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
        self._source: dict[str, onnx.NodeProto] = {}
        self._weights: dict[str, onnx.TensorProto] = {}
        for graph in onnx_file.graphs(model):
            self._weights |= {t.name: t for t in graph.initializer}
        for node in onnx_file.nodes(model):
            for name in set(node.input):
                self._users[name].append(node)
            self._source |= dict.fromkeys(node.output, node)

    def uses(self, name: str, shift: int = 0, deep: int = 0) -> Iterator[ImpliedRange]:
        """The ranges that the uses of a value imply for the input; the value is that input plus `shift`."""
        for node in self._users[name] if deep < DEEP else ():
            places = [i for i, n in enumerate(node.input) if n == name]
            kind = node.op_type
            if kind == "Gather" and places == [1]:
                if (rows := self._size(node.input[0], _attribute(node, "axis", 0))) is not None:
                    yield ImpliedRange(-shift, rows - shift, f"the {rows} rows of {node.input[0]}")
            elif kind == "OneHot" and places == [0]:
                if (depth := self._number(node.input[1])) is not None:
                    yield ImpliedRange(-shift, depth - shift, f"the {depth} classes of a OneHot")
            elif kind in COMPARES:
                other = self._number(node.input[1 - places[0]])
                if other is not None and self._branches(node.output[0]):
                    yield _Compared(other - shift, other - shift + 1, "")
            elif kind in ("Add", "Sub") and (kind == "Add" or places == [0]) and len(places) == 1:
                if (other := self._number(node.input[1 - places[0]])) is not None:
                    yield from self.uses(node.output[0], shift + (other if kind == "Add" else -other), deep + 1)
            elif (kind in KEEPS or kind == "Gather") and 0 in places:
                for output in node.output:
                    yield from self.uses(output, shift, deep + 1)

    def _branches(self, name: str, deep: int = 0) -> bool:
        """Whether a boolean decides which branch of an If runs."""
        for user in self._users[name] if deep < DEEP else ():
            if user.op_type == "If" and name == user.input[0]:
                return True
            if user.op_type in (*KEEPS, *LOGIC) and any(self._branches(o, deep + 1) for o in user.output):
                return True
        return False

    def _size(self, name: str, axis: int) -> int | None:
        """The size of a weight along an axis, through operators that keep it."""
        while (node := self._source.get(name)) is not None and node.op_type in ("Identity", "Cast", "DequantizeLinear"):
            name = node.input[0]
        tensor = self._constant(name)
        return None if tensor is None or not tensor.dims else int(tensor.dims[axis])

    def _number(self, name: str) -> int | None:
        """The value of a constant with one integer element; None for any other."""
        import numpy as np
        from onnx import numpy_helper

        while (node := self._source.get(name)) is not None and node.op_type in (*KEEPS, "Gather") and node.input:
            name = node.input[0]
        tensor = self._constant(name)
        if tensor is None or onnx_file.is_external(tensor):
            return None
        values = np.asarray(numpy_helper.to_array(tensor))
        if values.size != 1 or values.dtype.kind not in "iuf" or values.item() != int(values.item()):
            return None
        return int(values.item())

    def _constant(self, name: str) -> onnx.TensorProto | None:
        if (node := self._source.get(name)) is None:
            return self._weights.get(name)
        if node.op_type != "Constant":
            return None
        return next((a.t for a in node.attribute if a.HasField("t")), _single(node, name))


def _single(node: onnx.NodeProto, name: str) -> onnx.TensorProto | None:
    """The number of a Constant that stores it as value_int."""
    import numpy as np
    from onnx import numpy_helper

    value = next((a.i for a in node.attribute if a.name == "value_int"), None)
    return None if value is None else numpy_helper.from_array(np.asarray(value, np.int64), name)


def _attribute(node: onnx.NodeProto, name: str, otherwise: int) -> Any:
    return next((a.i for a in node.attribute if a.name == name), otherwise)


def describe(ranges: Mapping[str, ImpliedRange]) -> str:
    """The ranges in words."""
    return listed(f"{name} in [{r.low}, {r.high}): {r.why}" for name, r in ranges.items())
