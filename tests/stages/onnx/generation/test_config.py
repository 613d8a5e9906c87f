"""onnx/generation/config.py: genai_config.json for a graph."""

from dataclasses import replace

import decoders
import pytest

from pipeline.errors import StageError
from stages.interface.generation import CONVOLUTION, Cache
from stages.onnx.generation import config as genai


def document(generation=decoders.GENERATION, sampling=None):
    return genai.config(generation, list(decoders.SHAPES), sampling or {})


def test_names_of_keys_and_values_are_patterns_and_sizes_are_the_decoders():
    decoder = document()["model"]["decoder"]
    assert decoder["inputs"] == {
        **{n: n for n in ("input_ids", "attention_mask", "position_ids")},
        "past_key_names": "past_key_values.%d.key",
        "past_value_names": "past_key_values.%d.value",
    }
    assert decoder["outputs"]["present_value_names"] == "present.%d.value"
    assert (decoder["head_size"], decoder["num_hidden_layers"]) == (16, 2)


def test_a_graph_without_positions_is_not_said_to_have_them():
    written = genai.config(decoders.GENERATION, ["input_ids", "attention_mask"], {})
    assert "position_ids" not in written["model"]["decoder"]["inputs"]


@pytest.mark.parametrize(
    ("kind", "type_"), [("llama", "llama"), ("gpt2", "decoder"), ("mixtral", "decoder"), ("", "decoder")]
)
def test_a_type_that_the_runtime_takes_otherwise_is_called_a_decoder(kind, type_):
    assert document(replace(decoders.GENERATION, model_type=kind))["model"]["type"] == type_


def test_what_the_model_asks_of_sampling_is_asked_of_the_runtime():
    search = document(sampling={"do_sample": True, "top_k": 5, "transformers_version": "5"})["search"]
    assert (search["do_sample"], search["top_k"], search["top_p"]) == (True, 5, 1.0)
    assert "transformers_version" not in search


def test_a_text_of_any_length_has_a_limit_in_the_runtime():
    written = document(replace(decoders.GENERATION, positions=2**31 - 1))
    assert written["model"]["context_length"] == written["search"]["max_length"] == genai.LONGEST


def test_layers_without_keys_are_not_counted():
    caches = [*decoders.GENERATION.cache, Cache("past_conv.2", "present_conv.2", CONVOLUTION, None)]
    assert document(replace(decoders.GENERATION, cache=caches))["model"]["decoder"]["num_hidden_layers"] == 2


def test_names_without_a_pattern_are_refused():
    first, *others = decoders.GENERATION.cache
    with pytest.raises(StageError, match="the cache has 'first_key', which onnxruntime-genai cannot find"):
        document(replace(decoders.GENERATION, cache=[replace(first, input="first_key"), *others]))
