"""openvino/rewrites/spectra.py: Fourier transforms that OpenVINO's reader crashes at, or reads wrong."""

from __future__ import annotations

import conversions
import numpy as np
import onnx
import pytest
import torch
from conversions import agrees, export
from harness import backend
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from pipeline.errors import StageError
from stages.interface.interface import Dim, Input
from stages.openvino.rewrites import spectra

WAVES = {"wave": Input(["batch", "samples"], fill="normal")}, {"batch": Dim(1, 2, 3), "samples": Dim(130, 200, 400)}


class Spectrum(nn.Module):
    def __init__(self, **how) -> None:
        super().__init__()
        self.how = how
        self.register_buffer("window", torch.hann_window(48))

    def forward(self, x):
        z = torch.stft(x, 64, 20, window=self.window, win_length=48, return_complex=True, **self.how)
        return z.abs().pow(2).clamp_min(1e-5).log()


OTHERS = [pytest.param(how, marks=pytest.mark.slow) for how in ({"center": False}, {"onesided": False})]


@pytest.mark.parametrize("how", [{"normalized": True}, *OTHERS], ids=str)
def test_spectra_are_right_at_every_length(how, tmp_path):
    backend("openvino")
    inputs, dims = WAVES
    graph = export("export", Spectrum(**how), tmp_path, inputs=inputs, dims=dims)
    assert "STFT" in {n.op_type for n in onnx.load(graph.file).graph.node}
    agrees(conversions.ir(graph, tmp_path / "ir"), tmp_path)


class Filter(nn.Module):
    """Weighs the frequencies of a picture, as GFNet and LaMa do, and returns how loud they are."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.rand(1, 5))

    def forward(self, x):
        frequencies = torch.fft.rfft2(x, norm="ortho")
        back = torch.fft.irfft2(frequencies * self.weights, s=(x.shape[1], 8), norm="ortho")
        return back, frequencies.abs(), torch.fft.rfft(x, dim=1).abs(), torch.fft.rfft(x, 11).real


PICTURES = {"x": Input(["batch", "rows", 8], fill="normal")}, {"batch": Dim(1, 2, 3), "rows": Dim(3, 6, 9)}


@pytest.mark.parametrize("opset", [18, 20])
def test_transforms_of_real_numbers_and_back_are_right(opset, tmp_path):
    backend("openvino")
    inputs, dims = PICTURES
    graph = export("export", Filter(), tmp_path, opset=opset, inputs=inputs, dims=dims)
    assert "DFT" in {n.op_type for n in onnx.load(graph.file).graph.node}
    agrees(conversions.ir(graph, tmp_path / "ir"), tmp_path)


def graph_of(step, path, channels=1):
    """A graph with one STFT whose step is a constant, or the name of an input."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", "n", channels])]
    weights = [numpy_helper.from_array(np.hanning(16).astype(np.float32), "window")]
    if isinstance(step, str):
        inputs.append(helper.make_tensor_value_info(step, TensorProto.INT64, []))
    else:
        weights.append(numpy_helper.from_array(np.int64(step), "step"))
    node = helper.make_node("STFT", ["x", step if isinstance(step, str) else "step", "window"], ["y"])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", inputs, [output], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def test_a_step_that_is_computed_is_refused(tmp_path):
    path = graph_of("hop", tmp_path / "model.onnx")
    with pytest.raises(StageError, match="'hop' is computed"), spectra.rewritten(path):
        pass


def test_a_complex_signal_is_not_taken_for_a_real_one(tmp_path):
    openvino = pytest.importorskip("openvino")
    path = graph_of(4, tmp_path / "model.onnx", channels=2)
    # RuntimeError, or an exception of the front end's own.
    with spectra.rewritten(path) as graph, pytest.raises(Exception, match=r"Squeeze|rank do not match"):
        openvino.convert_model(graph)


def test_a_graph_without_one_is_read_as_it_is(graph):
    with spectra.rewritten(graph.file) as path:
        assert path == graph.file
