"""onnx/weightless.py: weights taken out of a graph come back, also in branches."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stages.onnx import weightless

LARGE = np.arange(512, dtype=np.float32)


def port(name, shape=(512,)):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def model(nodes, names, outputs=("y",), inputs=("x",)):
    weights = [numpy_helper.from_array(LARGE + i, n) for i, n in enumerate(names)]
    weights.append(numpy_helper.from_array(np.array([512]), "shape"))
    graph = helper.make_graph(nodes, "g", [port(n) for n in inputs], [port(n) for n in outputs], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def branching():
    """Two branches, each of which uses a weight of the graph around it."""
    then, other = (
        helper.make_graph([helper.make_node("Add", ["x", n], [f"{n}_y"])], n, [], [port(f"{n}_y")]) for n in ("a", "b")
    )
    condition = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.BOOL, [], [True]))
    return model([condition, helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)], ["a", "b"])


CASES = {
    "used by a node": lambda: model([helper.make_node("Add", ["x", "a"], ["y"])], ["a"]),
    "used in branches": branching,
    "an output itself": lambda: model([helper.make_node("Identity", ["x"], ["y"])], ["a"], outputs=("y", "a")),
    "an input too": lambda: model([helper.make_node("Add", ["x", "a"], ["y"])], ["a"], inputs=("x", "a")),
    "an input before x": lambda: model([helper.make_node("Add", ["x", "a"], ["y"])], ["a"], inputs=("a", "x")),
}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_what_was_taken_out_comes_back(make):
    whole, bare = make(), make()
    weights = weightless.take_out(bare)
    assert [t.name for t in bare.graph.initializer] == ["shape"]
    assert bare.ByteSize() < 1024
    onnx.checker.check_model(bare)
    weightless.put_back(bare, weights)
    assert {t.name: t for t in whole.graph.initializer if t.name != "shape"} == {
        t.name: t for t in bare.graph.initializer if t.name != "shape"
    }
    assert [p.name for p in bare.graph.input] == [p.name for p in whole.graph.input]
    onnx.checker.check_model(bare)


def test_a_weight_that_nothing_uses_any_more_is_left_out():
    bare = model([helper.make_node("Add", ["x", "a"], ["y"])], ["a", "b"])
    weightless.put_back(bare, weightless.take_out(bare))
    assert [t.name for t in bare.graph.initializer] == ["shape", "a"]
