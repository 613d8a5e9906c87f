"""What the README of a bundle says about an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import Problem

LOADING = """\
import numpy as np
import onnxruntime

model = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])
outputs = dict(zip({names}, model.run({names}, {inputs})))
"""


class Bundle:
    """See `stages.delivery.bundle.Bundle`."""

    ADVICE = ""

    @staticmethod
    def loading(file: str, inputs: str, names: str, facts: Mapping[str, Any], claim: Mapping[str, Any]) -> str:
        return LOADING.format(file=file, inputs=inputs, names=names)

    @staticmethod
    def only_for(facts: Mapping[str, Any]) -> str:
        return ""

    @staticmethod
    def unfit(facts: Mapping[str, Any]) -> Problem | None:
        if facts.get("storage") != "bfloat16":
            return None
        return Problem(
            "a bundle's self-check runs the graph on onnxruntime's CPU, which has no kernels for bfloat16",
            command="target=tensorrt_bundle, or stages.save.bundle=false",
        )
