"""Numbers of no dimension, in and out: recorded and checked as what they are, whatever an artifact is run by."""

import pytest
import torch
from conversions import agrees, capture, coreml, ir
from harness import VECTOR, backend, record, run_stage
from torch import nn

from stages.interface.interface import Input, Interface
from stages.onnx.export_onnx import ExportOnnx
from stages.reference import cases as reference_cases


class Features(nn.Module):
    """As CLIP: features, their temperature, and a mean that is a number."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.tensor(2.65))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self.head(x)
        return features, self.scale.exp(), features.pow(2).mean()


class Denoiser(Features):
    """The step is a number."""

    def forward(self, x: torch.Tensor, step: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.head(x + step * self.scale),)


STEP = {**VECTOR, "step": Input([], "int64", {"integers": [0, 1000]})}
KINDS = {"onnx": "onnx", "openvino": "openvino", "coreml": "coremltools"}


def test_numbers_are_recorded_without_a_dimension(tmp_path):
    case = next(reference_cases.read(record(Features(), tmp_path / "out", inputs=VECTOR, outputs=["f", "t", "m"])))
    assert [v.shape for v in case.outputs.values()] == [(2, 4), (), ()]
    reference = record(Denoiser(), tmp_path / "in", inputs=STEP)
    assert next(reference_cases.read(reference)).inputs["step"].shape == ()
    assert Interface.read(reference).inputs["step"].shape == []


# Core ML takes no input without a dimension, and compile_coreml says so.
@pytest.mark.parametrize(
    ("kind", "net", "inputs"),
    [(kind, Features(), VECTOR) for kind in KINDS] + [(kind, Denoiser(), STEP) for kind in ("onnx", "openvino")],
    ids=[f"{kind} out" for kind in KINDS] + ["onnx in", "openvino in"],
)
def test_a_model_with_numbers_agrees(kind, net, inputs, tmp_path):
    backend(KINDS[kind])
    program = capture("export", net, tmp_path, inputs=inputs)
    how = {"onnx": lambda p, f: run_stage(ExportOnnx(18, {}, False), p, f), "openvino": ir, "coreml": coreml}
    agrees(how[kind](program, tmp_path / "made"), tmp_path)
