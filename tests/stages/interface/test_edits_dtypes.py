"""interface/edits.py, types: numbers that another type cannot hold do not pass."""

from __future__ import annotations

import pytest
import torch
from conversions import capture, checked, ir, ports
from harness import VECTOR, reference_in, run_stage, tolerance
from nets import TinyConv
from torch import nn

from pipeline.errors import CheckFailed, ConfigError
from stages.checking.check import Check
from stages.interface.interface import Input

pytestmark = pytest.mark.usefixtures("openvino")


def test_an_input_in_half_precision_is_rounded_like_the_references(two, route, tmp_path):
    compiled = ir(two[route], tmp_path / "ir", dtypes={"input": "float16"})
    assert ports(compiled)["input"] == "f16[1..8,3,32,32]"
    loose = Check("float32", {}, [], tolerance("fp16"), False)
    run_stage(loose, {"artifact": compiled, "reference": two["reference"]}, tmp_path / "check")


def test_floating_point_numbers_that_become_infinite_do_not_pass(tmp_path):
    class Big(FixedHead):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x) * 1e8

    compiled = ir(capture("trace", Big(), tmp_path, inputs=VECTOR), tmp_path / "ir", dtypes={"output": "float16"})
    with pytest.raises(CheckFailed, match=r"edits\.dtypes\.output is float16, which cannot hold"):
        checked(compiled, reference_in(tmp_path), tmp_path)


class FixedHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)


def test_whole_numbers_that_a_floating_point_type_rounds_do_not_pass(tmp_path):
    class Index(FixedHead):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x).argmax(1) + 46211

    compiled = ir(capture("trace", Index(), tmp_path, inputs=VECTOR), tmp_path / "ir", dtypes={"output": "float16"})
    with pytest.raises(CheckFailed, match="which cannot hold"):
        checked(compiled, reference_in(tmp_path), tmp_path)


class BlindBeside(TinyConv):
    """Scores, and an output that no input changes."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super().forward(x), torch.ones(x.shape[0], 2) * self.head.bias[0]


def test_an_output_that_says_nothing_does_not_pass_by_itself(tmp_path):
    program = capture("trace", BlindBeside(), tmp_path, outputs=["scores", "constant"])
    compiled = ir(program, tmp_path / "ir", outputs=["constant"])
    with pytest.raises(CheckFailed, match="constant: the same for every input"):
        checked(compiled, reference_in(tmp_path), tmp_path)


@pytest.mark.parametrize("name", ["input", "scores"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "bool"])
def test_floating_point_numbers_are_not_cut_to_whole_ones(two, tmp_path, name, dtype):
    with pytest.raises(ConfigError, match=f"edits.dtypes.{name} is {dtype}, which cannot hold float32"):
        ir(two["direct"], tmp_path / "ir", dtypes={name: dtype})


class Embedded(nn.Module):
    """Takes numbers of words."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(400, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.embedding(x)


@pytest.mark.parametrize(("dtype", "fits"), [("int32", True), ("uint8", False)])
def test_whole_numbers_in_a_narrower_type_must_fit(tmp_path, dtype, fits):
    ids = {"x": Input([2, 5], "int64", {"integers": [0, 400]})}
    compiled = ir(capture("trace", Embedded(), tmp_path, inputs=ids, dims={}), tmp_path / "ir", dtypes={"x": dtype})
    if fits:
        checked(compiled, reference_in(tmp_path), tmp_path)
        return
    with pytest.raises(CheckFailed, match=r"edits\.dtypes\.x is uint8, which cannot hold"):
        checked(compiled, reference_in(tmp_path), tmp_path)


def test_weights_that_float16_cannot_hold_are_not_called_stored_in_it(tmp_path):
    net = nn.Linear(64, 64)
    with torch.no_grad():
        net.weight.fill_(1e6)
    program = capture("trace", net, tmp_path, inputs={"x": Input([2, 64], fill="normal")}, dims={})
    with pytest.raises(CheckFailed, match="asked to store weights in float16, OpenVINO left 16,"):
        ir(program, tmp_path / "ir", storage="float16")
