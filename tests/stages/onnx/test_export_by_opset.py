"""onnx/export_by_opset.py."""

from __future__ import annotations

import onnx
import onnx_ops
import pytest
from conversions import capture
from harness import VECTOR, reference_in, run_stage
from nets import TwoOutputs

from stages.onnx.export_by_opset import ExportByOpset

OP = "drydock_test::scale_add"


def exported(how, folder, opset, net, translations=None, symbolics=None, **interface):
    inputs = {"program": capture(how, net, folder, **interface), "reference": reference_in(folder)}
    return run_stage(ExportByOpset(opset, translations or {}, symbolics or {}, False), inputs, folder / "graph")


@pytest.mark.parametrize(
    ("how", "opset"),
    [("trace", 11), ("trace", 17), *(pytest.param("export", opset, marks=pytest.mark.slow) for opset in (18, 20))],
)
def test_its_graph_has_the_opset_that_was_asked_for(how, opset, tmp_path):
    graph = exported(how, tmp_path, opset, TwoOutputs())
    assert onnx.load(graph.file, load_external_data=False).opset_import[0].version == opset


@pytest.mark.parametrize(("how", "opset"), [("trace", 17), ("export", 18)])
def test_each_exporter_gets_its_own_translations(how, opset, tmp_path):
    names = {"translations": {OP: "onnx_ops.plain"}, "symbolics": {OP: "onnx_ops.symbolic"}}
    graph = exported(how, tmp_path, opset, onnx_ops.ScaleAdd(), inputs=VECTOR, **names)
    assert {n.domain for n in onnx.load(graph.file).graph.node} == {""}


def test_an_opset_that_nobody_writes_is_refused():
    (problem,) = ExportByOpset(27, {}, {}, False).problems()
    assert (problem.what, problem.allowed) == ("opset is 27, which no exporter writes", "7 to 26")
