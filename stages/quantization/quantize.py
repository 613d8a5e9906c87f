"""Quantises weights and activations to 8 bits, the ranges calibrated on samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Optional, Self

from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem
from pipeline.stage import SameKindAs, Stage, World
from stages.formats.ignored import Ignored
from stages.openvino import library as openvino_library
from stages.quantization import nncf as nncf_library
from stages.quantization.nncf import Feed
from stages.samples import files as sample_files


@dataclass(frozen=True)
class Quantize(Stage):
    """nncf.quantize: of an IR, one with FakeQuantize; of an ONNX graph, one with QuantizeLinear and DequantizeLinear.

    Args:
        preset: performance (activations symmetric) or mixed (asymmetric); None for mixed in transformers, otherwise
            performance.
        model_type: transformer for a quantisation scheme that keeps attention accurate; None for others.
        target_device: What the scheme is for: ANY, CPU, CPU_SPR, GPU or NPU.
        fast_bias_correction: True for the quick way; False for the accurate one, which takes minutes.
        symmetric: Of an ONNX graph, whether activations are signed numbers and a scale alone, whatever the preset; of a
            transformer, attention's products are left as they are then.
        ignored: Operations that are left as they are.
        extensions: Operations that OpenVINO does not have by itself; see compile_openvino.
        graph_opset: Of an ONNX graph, the opset that it will have, so that a wrong one is refused before any work.

    Source: https://docs.openvino.ai/2026/openvino-workflow/model-optimization-guide/quantizing-models-post-training.html
    """

    preset: Optional[str]
    model_type: Optional[str]
    target_device: str
    fast_bias_correction: bool
    symmetric: bool
    ignored: Ignored
    extensions: list[str]
    graph_opset: Optional[int]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "graph": nncf_library.GRAPHS,
        "samples": frozenset({Kind.SAMPLES}),
    }
    produces: ClassVar[Kind | str | SameKindAs] = SameKindAs("graph")
    requires: ClassVar[tuple[str, ...]] = ("nncf", "numpy", "safetensors")
    isolable: ClassVar[bool] = True

    def modules(self, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
        return (*self.requires, *nncf_library.BY_KIND.get(kinds.get("graph", Kind.FILE), ()))

    def problems(self) -> list[Problem]:
        return [
            *nncf_library.opset_problems("int8", self.graph_opset, nncf_library.INT8_OPSETS),
            *nncf_library.scheme_problems(self.preset, self.model_type, self.target_device),
            *self.ignored.problems(),
            *openvino_library.problems(self.extensions),
        ]

    def files(self) -> frozenset[str]:
        return openvino_library.files(self.extensions)

    def settle(self, world: World) -> Self:
        openvino_library.identity(self.extensions, world)
        return self

    def identity(self, world: World) -> Mapping[str, Any]:
        told = {n: v for n, v in asdict(self).items() if n != "graph_opset"}
        return {**told, "extensions": openvino_library.identity(self.extensions, world)}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        source = inputs["graph"]
        nncf_library.hold_opset("int8", source, nncf_library.INT8_OPSETS)
        nncf_library.hold_device(self.target_device, source)
        feed = Feed(source, sample_files.read(inputs["samples"]))

        def quantized(nncf: Any, model: Any, scope: Any) -> Any:
            made = nncf.quantize(
                model,
                nncf.Dataset(feed),
                subset_size=len(feed.samples),
                fast_bias_correction=self.fast_bias_correction,
                ignored_scope=scope,
                advanced_parameters=nncf_library.advanced(nncf, source, self.symmetric),
                **nncf_library.scheme(nncf, self.preset, self.model_type, self.target_device),
            )
            return nncf_library.signed(made) if self.symmetric and source.kind is Kind.ONNX else made

        scheme = {
            n: getattr(self, n) for n in ("preset", "model_type", "target_device", "fast_bias_correction", "symmetric")
        }
        besides = nncf_library.formless(source, nncf_library.INT8_FORMLESS)
        if self.symmetric and self.model_type == "transformer" and source.kind is Kind.ONNX:
            besides += nncf_library.attention(source)
        facts = nncf_library.facts("int8", scheme, inputs["samples"])
        return nncf_library.lowered(source, quantized, self.ignored, facts, folder, self.extensions, feed, besides)
