"""What the README of a bundle says about a Core ML package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.errors import Problem

LOADING = """\
import coremltools
import numpy as np

model = coremltools.models.MLModel({arguments})
outputs = model.predict({inputs})
"""


class Bundle:
    """See `stages.delivery.bundle.Bundle`."""

    ADVICE = "For an image input, `predict` takes a `PIL.Image`. Core ML runs only on macOS."

    @staticmethod
    def loading(file: str, inputs: str, names: str, facts: Mapping[str, Any], claim: Mapping[str, Any]) -> str:
        function = claim.get("properties", {}).get("function_name")
        arguments = json.dumps(file) + (f", function_name={json.dumps(function)}" if function else "")
        return LOADING.format(arguments=arguments, inputs=inputs)

    @staticmethod
    def only_for(facts: Mapping[str, Any]) -> str:
        return "Apple's systems"

    @staticmethod
    def unfit(facts: Mapping[str, Any]) -> Problem | None:
        return None
