"""onnx/exporting/versions.py: operators that are newer than the opset."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from pipeline.errors import StageError
from stages.onnx.exporting import versions


def graph(kind, opset, domain="", *, inside=False):
    node, out = helper.make_node(kind, ["x"], ["y"], domain=domain), helper.make_tensor_value_info("y", 1, None)
    if inside:
        branch = helper.make_graph([node], "branch", [], [out])
        node = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    whole = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])], [out])
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("my", 1)])


@pytest.mark.parametrize(("kind", "inside"), [("DeformConv", False), ("DeformConv", True)])
def test_an_operator_that_is_newer_than_the_opset_is_refused_with_its_opset(kind, inside):
    with pytest.raises(StageError, match="wrote DeformConv, which opset 18 does not have") as refused:
        versions.verify(graph(kind, 18, inside=inside))
    assert "opset=19" in str(refused.value)


@pytest.mark.parametrize(("kind", "opset", "domain"), [("DeformConv", 19, ""), ("Relu", 18, ""), ("Mine", 18, "my")])
def test_an_operator_of_the_opset_or_of_another_domain_is_not(kind, opset, domain):
    versions.verify(graph(kind, opset, domain))
