"""A model of two outputs, whose interface the tests of edits change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conversions import capture, export
from harness import backend, reference_in
from nets import TwoOutputs


@pytest.fixture
def openvino():
    backend("openvino")


@pytest.fixture(scope="session")
def two(tmp_path_factory):
    """A model of two outputs: its reference, and its program by either route."""
    folder = tmp_path_factory.mktemp("two")
    graph = export("trace", TwoOutputs(), folder, outputs=["scores", "features"])
    traced = capture("trace", TwoOutputs(), folder / "again", outputs=["scores", "features"])
    return {"reference": reference_in(folder), "onnx": graph, "direct": replace(traced, folder=folder / "trace")}


@pytest.fixture(params=["direct", "onnx"])
def route(request):
    return request.param
