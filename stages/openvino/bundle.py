"""What the README of a bundle says about an OpenVINO IR."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.errors import Problem
from stages.openvino.host import HINTS, PRECISION

LOADING = """\
import numpy as np
import openvino

model = openvino.Core().compile_model("{file}", "CPU", {settings})
returned = model({inputs})
outputs = {{name: returned[name] for name in {names}}}
"""


class Bundle:
    """See `stages.delivery.bundle.Bundle`."""

    ADVICE = f"Without `{PRECISION}`, OpenVINO chooses the type that it computes in: on many CPUs that is bfloat16."

    @staticmethod
    def loading(file: str, inputs: str, names: str, facts: Mapping[str, Any], claim: Mapping[str, Any]) -> str:
        return LOADING.format(file=file, inputs=inputs, names=names, settings=settings(claim))

    @staticmethod
    def only_for(facts: Mapping[str, Any]) -> str:
        return ""

    @staticmethod
    def unfit(facts: Mapping[str, Any]) -> Problem | None:
        return None


def settings(claim: Mapping[str, Any], **more: str) -> str:
    """The properties to load a model with, as the source text of a Python dictionary."""
    return json.dumps({**more, **claim.get("properties", {}), PRECISION: HINTS[claim["compute"]]})
