"""Quantises weights and activations to 8 bits, the ranges calibrated on samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Optional, Self

from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem
from pipeline.stage import SameKindAs, Stage, World
from stages import _nncf, _openvino, _samples
from stages._ignored import Ignored
from stages._nncf import Feed


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

    preset: Optional[str]  # noqa: UP045 (OmegaConf 2.3 reads Optional, not X | None)
    model_type: Optional[str]  # noqa: UP045
    target_device: str
    fast_bias_correction: bool
    symmetric: bool
    ignored: Ignored
    extensions: list[str]
    graph_opset: Optional[int]  # noqa: UP045

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "graph": _nncf.GRAPHS,
        "samples": frozenset({Kind.SAMPLES}),
    }
    produces: ClassVar[Kind | str | SameKindAs] = SameKindAs("graph")
    requires: ClassVar[tuple[str, ...]] = ("nncf", "numpy", "safetensors")
    isolable: ClassVar[bool] = True

    def modules(self, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
        return (*self.requires, *_nncf.BY_KIND.get(kinds.get("graph", Kind.FILE), ()))

    def problems(self) -> list[Problem]:
        return [
            *_nncf.opset_problems("int8", self.graph_opset, _nncf.INT8_OPSETS),
            *_nncf.scheme_problems(self.preset, self.model_type, self.target_device),
            *self.ignored.problems(),
            *_openvino.problems(self.extensions),
        ]

    def files(self) -> frozenset[str]:
        return _openvino.files(self.extensions)

    def settle(self, world: World) -> Self:
        _openvino.identity(self.extensions, world)
        return self

    def identity(self, world: World) -> Mapping[str, Any]:
        told = {n: v for n, v in asdict(self).items() if n != "graph_opset"}
        return {**told, "extensions": _openvino.identity(self.extensions, world)}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        source = inputs["graph"]
        _nncf.hold_opset("int8", source, _nncf.INT8_OPSETS)
        _nncf.hold_device(self.target_device, source)
        feed = Feed(source, _samples.read(inputs["samples"]))

        def quantized(nncf: Any, model: Any, scope: Any) -> Any:
            made = nncf.quantize(
                model,
                nncf.Dataset(feed),
                subset_size=len(feed.samples),
                fast_bias_correction=self.fast_bias_correction,
                ignored_scope=scope,
                advanced_parameters=_nncf.advanced(nncf, source, self.symmetric),
                **_nncf.scheme(nncf, self.preset, self.model_type, self.target_device),
            )
            return _nncf.signed(made) if self.symmetric and source.kind is Kind.ONNX else made

        scheme = {
            n: getattr(self, n) for n in ("preset", "model_type", "target_device", "fast_bias_correction", "symmetric")
        }
        besides = _nncf.formless(source, _nncf.INT8_FORMLESS)
        if self.symmetric and self.model_type == "transformer" and source.kind is Kind.ONNX:
            besides += _nncf.attention(source)
        facts = _nncf.facts("int8", scheme, inputs["samples"])
        return _nncf.lowered(source, quantized, self.ignored, facts, folder, self.extensions, feed, besides)
