"""frameworks/model.py: a file is executed by its own framework, where that is installed, under our names."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from conversions import opened
from harness import FILES

from stages.frameworks import formats as file_formats
from stages.frameworks import model as file_model
from stages.interface.interface import Input

NHWC, NCHW = ["batch", 8, 8, 3], ["batch", 3, 8, 8]
# What runs each file, what the file calls its input and its output, and the input's shape.
RUN_BY = [
    ("onnxruntime", "torch.onnx", "image.1", "logits", NCHW),
    ("tensorflow", "frozen.pb", "image:0", "Identity:0", NHWC),
    ("tensorflow", "saved_model", "image", "logits", NHWC),
    ("tensorflow", "lite.tflite", "serving_default_image:0", "StatefulPartitionedCall:0", NHWC),
    ("ai_edge_litert", "lite.tflite", "serving_default_image:0", "StatefulPartitionedCall:0", NHWC),
    ("paddle", "paddle.pdmodel", "image", "linear_0.tmp_1", NCHW),
]


@pytest.mark.parametrize(
    ("library", "name", "shapes", "outputs", "shape"), RUN_BY, ids=[" ".join(r[:2]) for r in RUN_BY]
)
def test_a_framework_answers_by_our_names_at_every_size(tmp_path, monkeypatch, library, name, shapes, outputs, shape):
    pytest.importorskip(library)
    for other in {"tensorflow", "ai_edge_litert"} - {library}:
        monkeypatch.setitem(sys.modules, other, None)
    names, inputs = {"picture": shapes, "scores": outputs}, {"picture": Input(shape)}
    artifact = opened(FILES / name, tmp_path, names=names, inputs=inputs)
    assert file_formats.library(artifact) == library
    running = file_model.open_session(artifact)
    expected = np.load(FILES / f"{name.partition('.')[0]}.expected.npz")
    for batch in ("2", "3"):
        answers = running({"picture": expected[f"{batch}/in"]})
        assert list(answers) == ["scores"]
        np.testing.assert_allclose(answers["scores"], expected[f"{batch}/out"], rtol=1e-5, atol=1e-6)
    assert running.computes_in == "float32"
