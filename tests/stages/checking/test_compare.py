"""checking/compare.py: how far two artifacts are apart, told without a verdict."""

from __future__ import annotations

import pytest
from conversions import edited
from harness import backend, run_stage
from onnx import numpy_helper

from stages.checking.compare import Compare


def compared(one, other, reference, folder):
    inputs = {"artifact": one, "other": other, "reference": reference}
    result = run_stage(Compare("float32", []), inputs, folder / "compare")
    assert result.folder == one.folder
    return result.notes


def raised(name, by):
    def edit(model):
        tensor = next(t for t in model.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + by, name))

    return edit


def renamed(model):
    model.graph.node[-1].output[0] = model.graph.output[0].name = "scores"


def test_an_artifact_is_not_apart_from_itself(graph, reference, tmp_path):
    notes_ = compared(graph, graph, reference, tmp_path)
    assert notes_["says"] == "worst relative error 0.0e+00"
    assert {c["label"]: c["max_rel"] for c in notes_["compared"]["cases"]} == dict.fromkeys(
        ("example", "min", "odd", "max"), 0.0
    )


def test_what_separates_two_graphs_is_measured_against_the_other(graph, reference, tmp_path):
    bias = next(n for n in names(graph) if n.endswith("bias"))
    notes_ = compared(edited(graph, tmp_path / "x", raised(bias, 0.5)), graph, reference, tmp_path)
    assert all(c["max_rel"] > 0.1 for c in notes_["compared"]["cases"])


def names(graph):
    import onnx

    return [t.name for t in onnx.load(graph.file).graph.initializer]


def test_kinds_may_differ(graph, reference, tmp_path):
    backend("openvino")
    from conversions import ir

    notes_ = compared(ir(graph, tmp_path / "ir"), graph, reference, tmp_path)
    assert all(0 < c["max_rel"] < 1e-5 for c in notes_["compared"]["cases"])


def test_outputs_that_cannot_be_compared_are_told(graph, reference, tmp_path):
    notes_ = compared(edited(graph, tmp_path / "x", renamed), graph, reference, tmp_path)
    assert "unlike: at 2x3x32x32, one's outputs are scores, the other's logits" in notes_["says"]


@pytest.mark.parametrize("compute", ["fp32", "int8"])
def test_what_nothing_computes_in_is_refused(compute):
    (problem,) = Compare(compute, []).problems()
    assert problem.what == f"compute is {compute}"
