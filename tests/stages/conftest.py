"""One tiny model, taken through the stages once for all tests that start from one of its artifacts."""

from __future__ import annotations

from pathlib import Path

import harness
import pytest
from harness import BATCH, IMAGE, backend, run_stage

from pipeline.artifact import Artifact
from stages.capture_export import CaptureExport
from stages.capture_trace import CaptureTrace
from stages.export_onnx import ExportOnnx
from stages.load_weights import LoadWeights
from stages.record_reference import RecordReference
from stages.set_eval import SetEval


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("house")


@pytest.fixture(scope="session")
def tiny(house: Path) -> Artifact:
    """TinyConv with random weights, in evaluation mode."""
    loaded = run_stage(LoadWeights("harness.TinyConv", {}, "random", None, None, None, [], True, 0), {}, house / "load")
    return run_stage(SetEval(), loaded, house / "eval")


@pytest.fixture(scope="session")
def reference(tiny: Artifact, house: Path) -> Artifact:
    return run_stage(
        RecordReference(IMAGE, BATCH, ["logits"], None, None, False, None, [], 0), tiny, house / "reference"
    )


@pytest.fixture(scope="session")
def program(tiny: Artifact, reference: Artifact, house: Path) -> Artifact:
    return run_stage(CaptureExport(2**30), {"module": tiny, "reference": reference}, house / "program")


@pytest.fixture(scope="session")
def traced(tiny: Artifact, reference: Artifact, house: Path) -> Artifact:
    return run_stage(CaptureTrace(), {"module": tiny, "reference": reference}, house / "traced")


@pytest.fixture(scope="session")
def graph(program: Artifact, house: Path) -> Artifact:
    """The dynamo exporter's ONNX graph."""
    return run_stage(ExportOnnx(18, {}, False), program, house / "graph")


@pytest.fixture(scope="session")
def ir(graph: Artifact, house: Path) -> Artifact:
    backend("openvino")
    return harness.ir(graph, house / "ir")
