"""What the README of a bundle says about the folder that openvino_genai loads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.openvino import bundle

LOADING = """\
import openvino_genai

model = openvino_genai.LLMPipeline("{folder}", "CPU", **{settings})
print(model.generate("Once upon a time", max_new_tokens=100))
"""


class Bundle(bundle.Bundle):
    """See `stages.delivery.bundle.Bundle`."""

    ADVICE = (
        f"{bundle.Bundle.ADVICE} Keys and values have the type that the IR itself requests, unless "
        "`KV_CACHE_PRECISION` says otherwise."
    )

    @staticmethod
    def loading(file: str, inputs: str, names: str, facts: Mapping[str, Any], claim: Mapping[str, Any]) -> str:
        return LOADING.format(folder=file.rpartition("/")[0] or ".", settings=bundle.settings(claim))
