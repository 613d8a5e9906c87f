"""openvino/unconverted.py: names operators without a rule, with the model's line and OpenVINO's own message."""

from __future__ import annotations

import logging

import onnx
import pytest
import torch
from conversions import capture, edited, export, ir
from harness import VECTOR, backend
from torch import nn

from pipeline.errors import StageError
from stages.openvino import library as openvino_library


@pytest.fixture(autouse=True)
def _openvino_is_there():
    backend("openvino")


class Middle(nn.Module):
    """Calls two operators without a rule, one of them through another layer."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = torch.special.bessel_j0(self.head(x))  # first
        return scale + torch.special.i1(x)  # second


def refused(program, folder) -> str:
    with pytest.raises(StageError) as caught:
        ir(program, folder / "ir")
    (problem,) = caught.value.problems
    return f"{problem.what}\n{problem.command}"


@pytest.mark.parametrize("how", ["export", "trace", "script"])
def test_every_operator_is_named_with_the_models_line(tmp_path, how):
    message = refused(capture(how, Middle(), tmp_path, inputs=VECTOR), tmp_path)
    assert "OpenVINO has no conversion rule for aten" in message
    for operator, line in (("special_bessel_j0", "# first"), ("special_i1", "# second")):
        assert any(operator in row and "test_unconverted.py:" in row and line in row for row in message.splitlines())
    assert "OpenVINO says: FrontEnd API failed with OpConversionFailure" in message
    assert "No conversion rule found for operations: " in message
    assert "route=onnx or route=auto" in message


class Decomposed(Middle):
    """Calls an operator that torch decomposes before OpenVINO gets it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svdvals(self.head(x))  # taken apart


def test_what_torch_made_of_an_operator_has_the_line_that_called_it(tmp_path):
    message = refused(capture("export", Decomposed(), tmp_path, inputs=VECTOR), tmp_path)
    assert any("aten._linalg_svd" in row and "# taken apart" in row for row in message.splitlines())


def test_an_operator_of_a_graph_is_named_with_its_node(tmp_path):
    def spoil(model):
        node = next(n for n in model.graph.node if n.op_type == "Gemm")
        node.op_type, node.domain = "Foo", "my"
        model.opset_import.append(onnx.helper.make_opsetid("my", 1))

    graph = edited(export("export", nn.Linear(4, 4), tmp_path, inputs=VECTOR), tmp_path / "spoiled", spoil)
    message = refused(graph, tmp_path)
    assert "no conversion rule for my.Foo" in message
    assert "my.Foo: node 'node_" in message
    assert "route=onnx" not in message


class ListsOfUnknownLength(nn.Module):
    """Converts, except for one operator whose rule refuses it."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.head(x)
        return torch.linalg.det(y[:, :, None] * y[:, None, :] + torch.eye(4))


def test_a_failed_conversion_leaves_the_root_logger_as_it_was(tmp_path, capsys):
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    before = (root.level, list(root.handlers))
    refused(capture("export", Middle(), tmp_path, inputs=VECTOR), tmp_path)
    assert (root.level, list(root.handlers)) == before
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["bad.onnx", "bad.pb", "bad.tflite"])
def test_what_a_reader_writes_to_the_screen_of_a_damaged_file_is_kept_from_it(tmp_path, capfd, name):
    (tmp_path / name).write_bytes(b"no model at all" * 100)
    with pytest.raises(StageError, match="OpenVINO cannot read this file"):
        openvino_library.read(tmp_path / name, "file")
    assert capfd.readouterr() == ("", "")


def test_a_rule_that_fails_keeps_openvinos_reason_and_the_models_line(tmp_path):
    message = refused(capture("trace", ListsOfUnknownLength(), tmp_path, inputs=VECTOR), tmp_path)
    assert message.startswith("OpenVINO cannot convert the model\n    aten::linalg_det: ")
    assert "return torch.linalg.det" in message
    assert "Exception happened during conversion of operation aten::linalg_det" in message
