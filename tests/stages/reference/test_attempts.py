"""reference/attempts.py: a way that does not serve says how to ask it alone."""

from __future__ import annotations

import pytest
from conversions import edited
from harness import tolerance
from onnx import numpy_helper

from pipeline.errors import StageError
from stages.reference import attempts
from stages.reference.attempts import Held


def test_a_way_whose_result_does_not_agree_is_told_with_what_names_the_operator(graph, reference, tmp_path):
    def double(model):
        tensor = model.graph.initializer[0]
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 2, tensor.name))

    ways = {"capture=trace": lambda folder: edited(graph, folder / "planted", double)}
    with pytest.raises(StageError) as told:
        attempts.first(ways, Held(reference, tolerance("fp32")), tmp_path)
    (problem,) = told.value.problems
    assert problem.what.startswith("capture=trace: its result does not agree with the model")
    assert problem.command == "capture=trace by itself, whose check names the operator that diverges first"
