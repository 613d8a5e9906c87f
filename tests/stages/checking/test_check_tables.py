"""checking/check.py: rows of embedding tables that no question looks up are the module's in the artifact, or told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conversions import capture, checked, coreml, edited, export, ir
from harness import backend, record
from onnx import helper, numpy_helper
from torch import nn

from pipeline.errors import CheckFailed
from stages.interface.interface import Dim, Input

ROWS = 5000
IDS = {
    "inputs": {"ids": Input(["batch", "length"], "int64", {"integers": [0, ROWS]})},
    "dims": {"batch": Dim(1, 2, 4), "length": Dim(2, 4, 8)},
    "outputs": ["y"],
}


class Text(nn.Module):
    """The mean of some rows of a table."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head, self.scale = nn.Embedding(ROWS, 8, padding_idx=0), nn.Linear(8, 3), scale

    def forward(self, ids):
        return self.head((self.table(ids) * self.scale).mean(1))


def converted(net, kind, folder):
    if kind == "coreml":
        backend("coremltools")
        return coreml(capture("trace", net, folder, **IDS), folder / "package")
    graph = export("export", net, folder, **IDS)
    return graph if kind == "onnx" else ir(graph, folder / "ir")


@pytest.fixture(scope="module")
def of_text(tmp_path_factory):
    return record(Text(), tmp_path_factory.mktemp("tables") / "reference", **IDS)


@pytest.mark.parametrize("kind", ["coreml", *(pytest.param(k, marks=pytest.mark.slow) for k in ("onnx", "openvino"))])
def test_a_row_that_nothing_looks_up_is_held_to_the_state_dict(kind, of_text, tmp_path):
    if kind == "openvino":
        backend("openvino")
    net = Text()
    assert "NOT CHECKED" not in checked(converted(net, kind, tmp_path / "right"), of_text, tmp_path).notes["says"]
    with torch.no_grad():
        net.table.weight[4321, 3] *= 1.01
        net.table.weight[77] = net.table.weight[78]
    wrong = converted(net, kind, tmp_path / "wrong")
    with pytest.raises(
        CheckFailed, match=r"does not have the rows of the PyTorch model: row 77 of table\.weight and 1 more"
    ):
        checked(wrong, of_text, tmp_path / "again")


def halved(model):
    """The table as twice another."""
    table = next(t for t in model.graph.initializer if list(t.dims) == [ROWS, 8])
    half = numpy_helper.from_array(numpy_helper.to_array(table) / 2, "half")
    two = numpy_helper.from_array(np.float32(2), "two")
    model.graph.node.insert(0, helper.make_node("Mul", ["half", "two"], [table.name]))
    model.graph.initializer.remove(table)
    model.graph.initializer.extend([half, two])


def test_rows_that_cannot_be_found_are_not_checked_by_name(of_text, tmp_path):
    graph = edited(converted(Text(), "onnx", tmp_path), tmp_path / "halved", halved)
    notes = checked(graph, of_text, tmp_path).notes
    assert notes["says"].endswith("; NOT CHECKED: rows of table.weight")
    assert "NOT CHECKED: table.weight, 49" in notes["caution"]
    assert "no such table" in notes["claims"]["parity"]["not_asked"]["table.weight"]
