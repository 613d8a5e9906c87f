"""openvino/rewrites/attention.py: attention without a mask is right after any earlier request."""

import numpy as np
import pytest
import torch
from conversions import capture, export, ir
from harness import backend
from torch import nn

from stages.formats import session
from stages.interface.interface import Dim, Input


class Unmasked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.three = nn.Linear(16, 48)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.three(x).unflatten(-1, (3, 4, 4)).permute(2, 0, 3, 1, 4)
        return nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class WrittenOut(Unmasked):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.three(x).chunk(3, -1)
        return torch.softmax(q @ k.transpose(1, 2) / 4, -1) @ v


INPUTS = {"x": Input(["batch", "t", 16], fill="normal")}
DIMS = {"batch": Dim(1, 2, 6), "t": Dim(1, 8, 32)}


@pytest.mark.parametrize("make", [export, capture], ids=["onnx", "direct"])
@pytest.mark.parametrize("net", [Unmasked, pytest.param(WrittenOut, marks=pytest.mark.slow)])
def test_a_long_request_after_a_short_one_is_answered_right(net, make, tmp_path):
    backend("openvino")
    module = net().eval()
    running = session.open_session(
        ir(make("export", module, tmp_path, inputs=INPUTS, dims=DIMS), tmp_path / "ir"), "float32"
    )
    for length in (1, 2, 32, 1, 17):
        x = np.random.default_rng(length).standard_normal((1, length, 16)).astype("f4")
        (output,) = running({"x": x}).values()
        np.testing.assert_allclose(output, module(torch.from_numpy(x)).detach().numpy(), atol=1e-5)


def test_a_fixed_length_and_a_mask_that_is_there_are_left_as_they_are():
    backend("openvino")
    import openvino
    from openvino import opset16 as ops

    from stages.openvino.rewrites import attention

    def masked(length, mask):
        ports = [ops.parameter([-1, 4, length, 16], np.float32) for _ in range(3)]
        masks = [ops.parameter([-1, 1, 1, length], np.float32)] if mask else []
        return attention.mask(openvino.Model([ops.scaled_dot_product_attention(*ports, *masks)], [*ports, *masks]))

    assert (masked(-1, False), masked(-1, True), masked(8, False)) == (1, 0, 0)
