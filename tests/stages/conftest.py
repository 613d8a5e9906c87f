"""A tiny model and a trained one, taken through the stages once for all tests that start from their artifacts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import conversions
import decoders
import harness
import pytest
from harness import BATCH, IMAGE, backend, run_stage

from pipeline.artifact import Artifact, Kind
from stages.capture.capture_export import CaptureExport
from stages.capture.capture_trace import CaptureTrace
from stages.interface.interface import Dim, Input
from stages.loading.load_weights import LoadWeights
from stages.loading.set_eval import SetEval
from stages.onnx.export_onnx import ExportOnnx
from stages.onnx.export_torchscript import ExportTorchscript
from stages.onnx.format import ONNX
from stages.openvino import convert
from stages.openvino import library as openvino_library
from stages.openvino.format import OPENVINO
from stages.reference.record_reference import RecordReference
from stages.samples.draw_samples import DrawSamples
from stages.samples.record_answers import RecordAnswers

EXAMPLE = Path(__file__).parents[2] / "examples" / "05_int8_digits"
sys.path.append(str(EXAMPLE))


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("house")


@pytest.fixture(scope="session")
def tiny(house: Path) -> Artifact:
    """TinyConv with random weights, in evaluation mode."""
    loaded = run_stage(LoadWeights("nets.TinyConv", {}, "random", None, None, None, [], True, 0), {}, house / "load")
    return run_stage(SetEval(None), loaded, house / "eval")


@pytest.fixture(scope="session")
def reference(tiny: Artifact, house: Path) -> Artifact:
    return run_stage(
        RecordReference(IMAGE, BATCH, ["logits"], None, None, False, None, [], 0, "quick", None, 16),
        tiny,
        house / "reference",
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
    return conversions.ir(graph, house / "ir")


@dataclass(frozen=True)
class Digits:
    """The network of examples/05, trained, with what is made of it, and samples that nothing was trained on."""

    house: Path
    module: Artifact
    reference: Artifact
    exported: Artifact
    traced: Artifact
    samples: Artifact
    spoiled: Artifact
    answers: Artifact
    artifacts: dict[str, Artifact] = field(default_factory=dict)

    def onnx(self, opset: int = 18) -> Artifact:
        """Its ONNX graph: by the TorchScript exporter to opset 20, by the dynamo exporter above."""
        old = opset <= 20
        stage = ExportTorchscript(opset, {}, False) if old else ExportOnnx(opset, {}, False)
        inputs = {"program": self.traced if old else self.exported, "reference": self.reference}
        return self._once(
            f"opset {opset}", lambda folder: run_stage(stage, inputs if old else inputs["program"], folder)
        )

    def package(self, target: str = "iOS18", compute: str = "float32") -> Artifact:
        """Its Core ML package."""
        return self._once(
            f"{target} {compute}",
            lambda folder: conversions.coreml(self.traced, folder, target=target, compute=compute),
        )

    def graph(self, kind: Kind) -> Artifact:
        """Its graph in either format."""
        return self.onnx() if kind == ONNX else self._once("ir", lambda folder: conversions.ir(self.traced, folder))

    def int8(self, kind: Kind) -> Artifact:
        """That graph quantised, as the stage does by default."""
        return self._once(f"int8 {kind}", lambda folder: conversions.quantized(self.graph(kind), self.samples, folder))

    def _once(self, name: str, make: Callable[[Path], Artifact]) -> Artifact:
        if name not in self.artifacts:
            self.artifacts[name] = make(self.house / name)
        return self.artifacts[name]


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    for needed in ("openvino", "nncf", "sklearn"):
        backend(needed)
    house = tmp_path_factory.mktemp("digits")
    weights = LoadWeights("digits.Net", {}, str(EXAMPLE / "digits.safetensors"), None, None, None, [], True, 0)
    loaded = run_stage(weights.settle(harness.world(house)), {}, house / "load")
    module = run_stage(SetEval(None), loaded, house / "eval")
    images = {"images": Input(["batch", 1, 8, 8], fill={"factory": "digits.some"})}
    record = RecordReference(
        images, {"batch": Dim(1, 16, 64)}, ["scores"], None, None, False, None, [], 0, "quick", None, 16
    )
    reference = run_stage(record, module, house / "reference")
    both = {"module": module, "reference": reference}

    def drawn(dataset: str) -> Artifact:
        source = {"source": "dataset", "path": f"digits.{dataset}", "kwargs": {"split": "calibration"}}
        samples = run_stage(DrawSamples(source, 300, None, 0), reference, house / dataset)
        return replace(samples, digest=dataset[0].lower() * 64)

    test = {"source": "dataset", "path": "digits.Digits", "kwargs": {"split": "test"}}
    return Digits(
        house,
        module,
        reference,
        run_stage(CaptureExport(2**30), both, house / "exported"),
        run_stage(CaptureTrace(), both, house / "traced"),
        drawn("Digits"),
        drawn("spoiled"),
        run_stage(RecordAnswers(test, None, None, 0), dict(reversed(both.items())), house / "answers"),
    )


@pytest.fixture(scope="session")
def decoder_graph(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The ONNX graph of a decoder with a cache."""
    folder = tmp_path_factory.mktemp("decoder")
    decoders.onnx_file(folder)
    return Artifact(ONNX, folder, facts=decoders.facts())


@pytest.fixture(scope="session")
def decoder_ir(decoder_graph: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Its IR, with the cache as inputs and outputs."""
    backend("openvino")
    folder = tmp_path_factory.mktemp("decoder_ir")
    convert.write(openvino_library.convert(decoder_graph.file, []), {}, folder)
    return Artifact(OPENVINO, folder, facts=decoders.facts())


@pytest.fixture(params=[ONNX, OPENVINO])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Either format that is quantised."""
    return request.param


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to import from; what was imported from it is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]
