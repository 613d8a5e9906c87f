"""onnx/export_auto.py: the first capture that serves."""

from __future__ import annotations

import pytest
from conversions import agrees, export
from harness import VECTOR, tolerance
from nets import TwoOutputs, ValueBranch
from torch import nn

from pipeline.errors import StageError
from stages.capture.opsets import EITHER
from stages.onnx.export_auto import ExportAuto


@pytest.mark.slow  # through the command line in test_models
def test_export_is_tried_first(tmp_path):
    made = export("auto", TwoOutputs(), tmp_path)
    assert (made.facts["capture"], made.facts["opset"]) == ("export", 18)
    assert made.notes["says"].startswith("by capture=export: opset 18")
    agrees(made, tmp_path)


class SizesAsNumbers(ValueBranch):
    """Asks for a size as a number that depends on a value: only a tracer follows, and rightly so for rows of four."""

    def forward(self, x):
        return self.head(x.reshape(-1, int(x.new_ones(4).sum().item())))


def test_what_export_cannot_capture_is_traced_and_the_notes_say_why(tmp_path):
    made = export("auto", SizesAsNumbers(), tmp_path, inputs=VECTOR)
    assert made.facts["capture"] == "trace"
    assert "; not capture=export: " in made.notes["says"]
    assert "fixed as the example took them" in made.notes["caution"]
    agrees(made, tmp_path)


def test_a_trace_that_fixed_a_branch_gives_way_to_script(tmp_path):
    made = export("auto", ValueBranch(), tmp_path, inputs=VECTOR)
    assert made.facts["capture"] == "script"
    assert "; not capture=trace: its result does not agree with the model" in made.notes["says"]
    agrees(made, tmp_path)


@pytest.mark.parametrize("opset", [9, 17])
def test_captures_whose_exporter_does_not_write_the_opset_are_not_tried(tmp_path, opset):
    made = export("auto", TwoOutputs(), tmp_path, opset=opset)
    assert (made.facts["capture"], made.facts["opset"]) == ("trace", opset)
    assert "not capture=export" not in made.notes["says"]


def test_nothing_but_the_graph_is_left_in_the_folder(tmp_path):
    made = export("auto", ValueBranch(), tmp_path, inputs=VECTOR)
    assert [p.name for p in made.folder.iterdir()] == ["model.onnx"]


class Hopeless(nn.Module):
    """Refuses whoever records it."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x, **anything):
        import torch

        if torch.compiler.is_exporting() or torch.jit.is_tracing():
            raise ValueError("not while anybody looks")
        return self.head(x)


def test_when_none_serves_each_says_why(tmp_path):
    with pytest.raises(StageError) as told:
        export("auto", Hopeless(), tmp_path, inputs=VECTOR)
    assert [p.what.partition(":")[0] for p in told.value.problems] == [
        "capture=export",
        "capture=trace",
        "capture=script",
    ]


@pytest.mark.parametrize("opset", [EITHER.start - 1, EITHER.stop])
def test_an_opset_that_no_exporter_writes_is_a_problem(opset):
    (problem,) = ExportAuto(opset, {}, {}, False, tolerance("fp32")).problems()
    assert problem.what == f"opset is {opset}, which no exporter writes"
