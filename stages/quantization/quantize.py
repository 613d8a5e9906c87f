"""Quantises weights and activations to 8 bits, with ranges calibrated on samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifact import Artifact
from stages.quantization.settings import Int8

SCHEME = ("preset", "model_type", "target_device", "fast_bias_correction", "symmetric")


@dataclass(frozen=True)
class Quantize(Int8):
    """nncf.quantize: an IR gets FakeQuantize, an ONNX graph QuantizeLinear and DequantizeLinear.

    Args: see stages/quantization/settings.py.

    Source: https://docs.openvino.ai/2026/openvino-workflow/model-optimization-guide/quantizing-models-post-training.html
    """

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        feed = self.feed(inputs)

        def quantize(nncf: Any, model: Any, advanced: Any, **how: Any) -> Any:
            return nncf.quantize(model, nncf.Dataset(feed), advanced_parameters=advanced, **how)

        return self.quantized(quantize, inputs, feed, {name: getattr(self, name) for name in SCHEME}, folder)
