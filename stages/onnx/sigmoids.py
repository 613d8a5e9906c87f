"""Computes Sigmoids that decide a graph's outputs in float64: onnxruntime's own has an absolute error of 2⁻²³.

Next to probabilities near one this does not matter. Where all of them are small, as a detector's are for noise, the
error is as large as the values: below about -17 onnxruntime 1.31.1's CPU provider gives 0, the logistic function 4e-8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.onnx import file as onnx_file

if TYPE_CHECKING:
    import onnx

# Operators whose results are values of their first input, or means, sums and products of them.
PASSES = {"Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Concat"}
PASSES |= {"Gather", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "Mul", "Sub", "Add", "Where", "Max", "Min"}


def widen(model: onnx.ModelProto) -> bool:
    """Computes every Sigmoid in float64 if one of them decides an output. Returns whether the graph was changed.

    Graphs in float16 are not changed: their rounding is larger than this error.
    """
    import onnx

    if onnx.TensorProto.FLOAT16 in {t.data_type for t in onnx_file.tensors(model)} or not _decide(model):
        return False
    for graph in onnx_file.graphs(model):
        if not any(n.op_type == "Sigmoid" for n in graph.node):
            continue
        widened = [part for node in graph.node for part in (_parts(node) if node.op_type == "Sigmoid" else [node])]
        copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in widened]  # deleted, they would be empty
        del graph.node[:]
        graph.node.extend(copies)
    return True


def _parts(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    from onnx import TensorProto, helper

    (source,), (result,) = node.input, node.output
    wide, minus, grown, one, whole, ratio = (
        f"{result}/{step}" for step in ("f64", "neg", "exp", "one", "sum", "ratio")
    )
    constant = helper.make_tensor(one, TensorProto.DOUBLE, [], [1.0])
    return [
        helper.make_node("Constant", [], [one], value=constant),
        helper.make_node("Cast", [source], [wide], to=TensorProto.DOUBLE),
        helper.make_node("Neg", [wide], [minus]),
        helper.make_node("Exp", [minus], [grown]),
        helper.make_node("Add", [one, grown], [whole]),
        helper.make_node("Div", [one, whole], [ratio]),
        helper.make_node("Cast", [ratio], [result], to=TensorProto.FLOAT),
    ]


def _decide(model: onnx.ModelProto) -> bool:
    """Whether an output is computed from a Sigmoid's result, also inside a branch."""
    producers: dict[str, Any] = {name: node for node in onnx_file.nodes(model) for name in node.output}
    pending = [o.name for o in model.graph.output]
    visited: set[str] = set()
    while pending:
        name = pending.pop()
        node = producers.get(name)
        if name in visited or node is None:
            continue
        visited.add(name)
        if node.op_type == "Sigmoid":
            return True
        if node.op_type in PASSES:
            pending += node.input
        pending += [o.name for a in node.attribute for o in a.g.output]
    return False
