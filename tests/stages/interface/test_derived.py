"""interface/derived.py, parameters.py and lengths.py: what a transformers model says it takes."""

from __future__ import annotations

import pytest
import torch
import transformers
from transformers import AutoConfig

from stages.interface import derived, lengths
from stages.interface.interface import Dim
from stages.interface.lengths import Limits

TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 60}
DIMS = {
    "batch": Dim(1, 2, 3),
    "sequence": Dim(2, 16, 64),
    "decoder_sequence": Dim(2, 8, 32),
    "samples": Dim(400, 800, 1600),
    "frames": Dim(64, 128, 256),
}
LLAVA = {
    "model_type": "llava",
    "text_config": {"model_type": "llama", **TEXT},
    "vision_config": {"model_type": "clip_vision_model", "image_size": 32, "patch_size": 16},
    "image_token_index": 59,
}


def derive(name, dims=DIMS, accepts=lambda _: True, **config):
    with torch.device("meta"):
        net = getattr(transformers, name)._from_config(AutoConfig.for_model(**config))
    return derived.interface(net, dims, None, accepts=accepts)


@pytest.mark.parametrize(
    ("name", "config", "inputs"),
    [
        ("RegNetModel", {"model_type": "regnet"}, {"pixel_values": ["batch", 3, 384, 384]}),
        ("CanineModel", {"model_type": "canine", **TEXT}, {"input_ids": ["batch", "sequence"]}),
        ("LayoutLMModel", {"model_type": "layoutlm", **TEXT}, {"bbox": ["batch", "sequence", 4]}),
        ("BertForMultipleChoice", {"model_type": "bert", **TEXT}, {"input_ids": ["batch", 2, "sequence"]}),
        ("LxmertModel", {"model_type": "lxmert", "vocab_size": 60}, {"visual_feats": ["batch", 36, 2048]}),
        (
            "DecisionTransformerModel",
            {"model_type": "decision_transformer", "state_dim": 5, "n_layer": 1},
            {"states": ["batch", "sequence", 5]},
        ),
        ("PatchTSTModel", {"model_type": "patchtst"}, {"past_values": ["batch", 32, 1]}),
    ],
)
def test_what_is_fed_follows_from_the_configuration_and_from_forward(name, config, inputs):
    interface = derive(name, **config).interface
    assert {n: interface.inputs[n].shape for n in inputs} == inputs
    assert set(interface.call["kwargs"]) >= set(inputs)


def test_a_picture_that_stands_in_the_text_is_left_out_and_told():
    result = derive("LlavaModel", **LLAVA)
    assert set(result.interface.inputs) == {"input_ids", "attention_mask"}
    assert result.says[0].startswith("pixel_values is left out: it goes with image_token_")
    assert result.interface.inputs["input_ids"].fill["integers"][1] <= 59


def test_of_several_shapes_it_is_the_first_that_the_model_accepts():
    def accepts(way):
        return len(way.inputs["input_values"].shape) == 3

    shapes = [derive("Wav2Vec2Model", accepts=a, model_type="wav2vec2", num_hidden_layers=1) for a in (accepts, bool)]
    assert [d.interface.inputs["input_values"].shape for d in shapes] == [["batch", 1, "samples"], ["batch", "samples"]]


@pytest.mark.parametrize(
    ("name", "config", "sequence", "says"),
    [
        # Positions count from the padding's number plus one: 0 and 1 are no positions.
        ("RobertaModel", {"model_type": "roberta", "max_position_embeddings": 40}, Dim(2, 16, 38), "hold 38"),
        ("BertModel", {"model_type": "bert", "max_position_embeddings": 40}, Dim(2, 16, 40), "hold 40"),
        ("BertModel", {"model_type": "bert", "max_position_embeddings": 64}, Dim(2, 16, 64), ""),
    ],
)
def test_text_is_as_long_as_the_model_can_read(name, config, sequence, says):
    result = derive(name, **TEXT, **config)
    assert result.interface.dims["sequence"] == sequence
    assert says in " ".join(result.says)
    assert bool(result.says) == bool(says)


def test_a_spectrogram_is_as_long_as_the_model_can_read():
    sizes = dict.fromkeys(("d_model", "encoder_ffn_dim", "decoder_ffn_dim"), 16) | {"max_source_positions": 50}
    result = derive("Speech2TextModel", accepts=lambda way: "frames" in way.dims, model_type="speech_to_text", **sizes)
    assert result.interface.dims["frames"].max == 200
    assert "hold 50 steps of 4 frames" in " ".join(result.says)


def test_a_dimension_of_one_size_becomes_a_number():
    result = derive("BertModel", model_type="bert", **TEXT, max_position_embeddings=2)
    assert result.interface.inputs["input_ids"].shape == ["batch", 2]
    assert set(result.interface.dims) == {"batch"}


@pytest.mark.parametrize(
    ("name", "config", "length"),
    [
        ("LongformerModel", {"model_type": "longformer", "attention_window": [24]}, 72),
        ("LongformerModel", {"model_type": "longformer", "attention_window": [24], "max_position_embeddings": 60}, 48),
        (
            "FunnelModel",
            {"model_type": "funnel", "d_model": 16, "block_sizes": [1, 1, 1], "n_head": 2, "d_head": 8},
            64,
        ),
    ],
)
def test_what_goes_by_windows_or_pools_is_asked_at_one_length(name, config, length):
    """torch.export and a trace keep the number of windows that the example had."""
    result = derive(
        name, **{k: v for k, v in TEXT.items() if k != "num_hidden_layers" or name != "FunnelModel"}, **config
    )
    assert result.interface.inputs["input_ids"].shape == ["batch", length]
    assert f"sequence of {length} rather than 2 to 64" in result.says[0]


@pytest.mark.parametrize(
    ("limits", "fitted"),
    [
        (Limits(1, None, 1, ""), Dim(2, 16, 64)),
        (Limits(4, 50, 8, ""), Dim(8, 16, 48, 8)),
        (Limits(1, 600, 256, ""), 256),
        (Limits(100, 600, 1, ""), 100),
        (Limits(1, 254, 256, ""), 254),
        (Limits(1, 50, 8, "", fixed=True), 48),
    ],
)
def test_a_range_is_narrowed_to_what_there_can_be(limits, fitted):
    assert lengths.within(Dim(2, 16, 64), limits) == fitted
