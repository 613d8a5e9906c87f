"""Sigmoids that decide a graph's outputs, computed in float64: onnxruntime's own is right to 2⁻²³ and no better.

Beside probabilities of one that is nothing; where all of them are small, as a detector's are of noise, it is all there
is of them: from about -17 down onnxruntime 1.31.1's CPU provider gives 0, where the logistic function is 4e-8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.onnx import file as onnx_file

if TYPE_CHECKING:
    import onnx

# Operators whose results are their first input's numbers, or means and products of these.
PASSES = {"Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Concat"}
PASSES |= {"Gather", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "Mul", "Sub", "Add", "Where", "Max", "Min"}


def widen(model: onnx.ModelProto) -> bool:
    """Computes every Sigmoid in float64 where one decides an output; False, and nothing changed, where none does.

    Graphs in float16 are left alone: what is rounded to so few bits hides it.
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

    (given,), (result,) = node.input, node.output
    wide, minus, grown, one, whole, ratio = (
        f"{result}/{step}" for step in ("f64", "neg", "exp", "one", "sum", "ratio")
    )
    constant = helper.make_tensor(one, TensorProto.DOUBLE, [], [1.0])
    return [
        helper.make_node("Constant", [], [one], value=constant),
        helper.make_node("Cast", [given], [wide], to=TensorProto.DOUBLE),
        helper.make_node("Neg", [wide], [minus]),
        helper.make_node("Exp", [minus], [grown]),
        helper.make_node("Add", [one, grown], [whole]),
        helper.make_node("Div", [one, whole], [ratio]),
        helper.make_node("Cast", [ratio], [result], to=TensorProto.FLOAT),
    ]


def _decide(model: onnx.ModelProto) -> bool:
    """Whether an output is made of a Sigmoid's result, in a branch too."""
    made: dict[str, Any] = {name: node for node in onnx_file.nodes(model) for name in node.output}
    pending = [o.name for o in model.graph.output]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        node = made.get(name)
        if name in seen or node is None:
            continue
        seen.add(name)
        if node.op_type == "Sigmoid":
            return True
        if node.op_type in PASSES:
            pending += node.input
        pending += [o.name for a in node.attribute for o in a.g.output]
    return False
