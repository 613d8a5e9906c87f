"""genai_config.json: what onnxruntime-genai needs to know about a decoder's graph.

Source: https://onnxruntime.ai/docs/genai/reference/config.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import StageError
from stages.interface.generation import ATTENTION, SLIDING, UNLIMITED, Generation
from stages.onnx.format import ONNX_GENERATION

CONFIG = "genai_config.json"
# Model types whose decoder the runtime accepts as a graph with keys and values; PLAIN stands for every other type.
PLAIN = "decoder"
SUPPORTED_TYPES = (
    *("chatglm", "ernie4_5", "gemma", "gemma2", "gemma3_text", "granite", "internlm2", "llama", "mistral", "nemotron"),
    *("olmo", "phi", "phi3", "qwen2", "qwen3", "smollm3"),
)
# Tokens of a text, for a model without a limit of its own: the runtime reserves memory for all of them.
LONGEST = 2**15
# The keys of generation_config.json that it has under the same name.
SEARCH = ("do_sample", "temperature", "top_k", "top_p", "repetition_penalty", "num_beams", "length_penalty")


def config(generation: Generation, inputs: Sequence[str], generation_config: Mapping[str, Any]) -> dict[str, Any]:
    """The document in the file.

    Args:
        generation: The decoder.
        inputs: The names of the graph's inputs.
        generation_config: The model's generation_config.json; empty where there is none.
    """
    tokens = [name for name in ("input_ids", "attention_mask", "position_ids") if name in inputs]
    pairs = [c for c in generation.cache if c.kind in (ATTENTION, SLIDING)]
    input_names = {name: name for name in tokens} | _patterns([c.input for c in pairs], "past")
    output_names = {"logits": "logits"} | _patterns([c.output for c in pairs], "present")
    search: dict[str, Any] = {"do_sample": False, "temperature": 1.0, "top_k": 50, "top_p": 1.0}
    search |= {"repetition_penalty": 1.0, "num_beams": 1, "num_return_sequences": 1, "min_length": 0}
    search |= {name: generation_config[name] for name in SEARCH if generation_config.get(name) is not None}
    longest = LONGEST if generation.positions == UNLIMITED else generation.positions
    search |= {"max_length": longest, "past_present_share_buffer": False}
    begins = {} if generation.bos is None else {"bos_token_id": generation.bos}
    return {
        "model": {
            "type": generation.model_type if generation.model_type in SUPPORTED_TYPES else PLAIN,
            "context_length": longest,
            "vocab_size": generation.vocabulary,
            **begins,
            "eos_token_id": list(generation.eos),
            "pad_token_id": generation.fills,
            "decoder": {
                "filename": ONNX_GENERATION.file,
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "head_size": generation.head_dim,
                "hidden_size": generation.hidden,
                "num_attention_heads": generation.heads,
                "num_key_value_heads": generation.kv_heads,
                "num_hidden_layers": len(pairs) // 2,
                "inputs": input_names,
                "outputs": output_names,
            },
        },
        "search": search,
    }


def write(document: Mapping[str, Any], folder: Path) -> None:
    """Writes it beside the graph."""
    (folder / CONFIG).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _patterns(names: Sequence[str], what: str) -> dict[str, str]:
    """The names of keys and values, with %d for the layer. Raises StageError where they follow no such pattern."""
    patterns: dict[str, str] = {}
    for name in names:
        pattern = re.sub(r"\d+", "%d", name, count=1)
        role = "key" if "key" in name.rpartition(".")[2] else "value"
        if patterns.setdefault(f"{what}_{role}_names", pattern) != pattern or "%d" not in pattern:
            raise StageError(
                f"the cache has '{name}', which onnxruntime-genai cannot find",
                allowed="names with the number of the layer, alike but for that",
                command="past_key_values.0.key, present.0.key and so on in the model's YAML",
            )
    return patterns
