"""What the README of a bundle says about the folder that onnxruntime-genai loads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import Problem

LOADING = """\
import onnxruntime_genai

model = onnxruntime_genai.Model("{folder}")
tokenizer = onnxruntime_genai.Tokenizer(model)
options = onnxruntime_genai.GeneratorParams(model)
options.set_search_options(max_length=100)
generator = onnxruntime_genai.Generator(model, options)
generator.append_tokens(tokenizer.encode("Once upon a time"))
while not generator.is_done():
    generator.generate_next_token()
print(tokenizer.decode(generator.get_sequence(0)))
"""


class Bundle:
    """See `stages.delivery.bundle.Bundle`."""

    ADVICE = "Pad the rows of a batch on the right: the runtime itself finds where each one ends."

    @staticmethod
    def loading(file: str, inputs: str, names: str, facts: Mapping[str, Any], claim: Mapping[str, Any]) -> str:
        return LOADING.format(folder=file.rpartition("/")[0] or ".")

    @staticmethod
    def only_for(facts: Mapping[str, Any]) -> str:
        return ""

    @staticmethod
    def unfit(facts: Mapping[str, Any]) -> Problem | None:
        return None
