"""stages/simplify.py."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from harness import contents, edited, run_stage, tolerance
from onnx import helper, numpy_helper

from stages import _onnx_file
from stages.check import Check
from stages.simplify import Simplify


@pytest.fixture(scope="module")
def foldable(graph, tmp_path_factory):
    """The tiny graph with a constant to fold before its last node: bias + 0 + 0."""

    def add_zeros(model):
        gemm = model.graph.node[-1]
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(10, np.float32), "zeros"))
        first = helper.make_node("Add", [gemm.input[2], "zeros"], ["bias_1"], name="add_1")
        second = helper.make_node("Add", ["bias_1", "zeros"], ["bias_2"], name="add_2")
        gemm.input[2] = "bias_2"
        last = model.graph.node.pop()
        model.graph.node.extend([first, second, last])

    return edited(graph, tmp_path_factory.mktemp("foldable") / "graph", add_zeros)


@pytest.fixture
def simplified(foldable, tmp_path):
    return run_stage(Simplify(), foldable, tmp_path / "simplified")


def test_a_smaller_graph_is_kept(foldable, simplified):
    before, after = (len(onnx.load(a.file).graph.node) for a in (foldable, simplified))
    assert after == before - 2
    assert simplified.notes["says"] == f"{before} → {after} nodes"


def test_a_smaller_graph_answers_as_the_model(simplified, reference, tmp_path):
    run_stage(Check("float32", tolerance("fp32")), {"artifact": simplified, "reference": reference}, tmp_path / "check")


def test_a_smaller_graph_keeps_its_interface(foldable, simplified):
    before, after = onnx.load(foldable.file), onnx.load(simplified.file)
    assert [_onnx_file.opset(m) for m in (before, after)] == [18, 18]
    for a, b in ((before.graph.input, after.graph.input), (before.graph.output, after.graph.output)):
        assert [(p.name, p.type) for p in a] == [(p.name, p.type) for p in b]


def test_a_smaller_graph_carries_provenance_and_nothing_that_leaks(simplified):
    model = onnx.load(simplified.file)
    assert "UNTRAINED" in {p.key: p.value for p in model.metadata_props}["drydock.weights"]
    assert [n.name for n in model.graph.node if n.metadata_props or n.doc_string] == []


def test_two_runs_are_the_same_bytes(foldable, simplified, tmp_path):
    assert contents(run_stage(Simplify(), foldable, tmp_path / "again").folder) == contents(simplified.folder)


def test_a_graph_that_gets_no_smaller_goes_on_as_it_was(graph, tmp_path):
    made = run_stage(Simplify(), graph, tmp_path / "out")
    assert (made.folder, made.digest, made.facts) == (graph.folder, graph.digest, graph.facts)
    assert made.notes["says"].endswith("not smaller: kept as it was")
    assert contents(tmp_path / "out") == {}


def test_a_simplified_graph_is_not_simplified_further(simplified, tmp_path):
    assert run_stage(Simplify(), simplified, tmp_path / "out").folder == simplified.folder
