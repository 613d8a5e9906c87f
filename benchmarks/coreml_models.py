"""The models of benchmarks/coreml.py: those of the coverage that are in its list, and the few that only it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.coverage_models import BATCH, Subject, subjects

MOST_PARAMETERS = 300e6
# Two sizes of the batch, for a check at two shapes.
TWO = "model.dims.batch={min: 1, opt: 2, max: 2}"
OTHERS = ("deeplabv3_resnet50", "r3d_18")
SHARED = (
    *("BERT", "RoBERTa", "DistilBERT", "ALBERT", "ELECTRA", "DeBERTa-v2", "MPNet", "GPT-2", "OPT", "Llama", "Qwen2"),
    *("T5 encoder", "ViT", "DINOv2", "Swin", "SegFormer", "ConvNeXtV2", "wav2vec 2.0"),
)
TEXT = "hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64, vocab_size: 120"
IMAGES = "hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64, image_size: 32"
SEQ2SEQ = (
    "d_model: 32, encoder_layers: 2, decoder_layers: 2, encoder_attention_heads: 2, decoder_attention_heads: 2, "
    "encoder_ffn_dim: 64, decoder_ffn_dim: 64, vocab_size: 120"
)
T5 = "d_model: 32, d_kv: 16, d_ff: 64, num_layers: 2, num_heads: 2, vocab_size: 120"
STAGES = "hidden_sizes: [8, 16, 16, 32], depths: [1, 1, 1, 1], image_size: 64"
SEGFORMER = "model_type: segformer, hidden_sizes: [8, 16, 16, 32], depths: [1, 1, 1, 1], decoder_hidden_size: 32"
# Its configuration does not say how large an image is.
PIXELS = (
    "model.inputs={pixel_values: {shape: [batch, 3, 64, 64], fill: normal}}",
    "model.call={kwargs: {pixel_values: pixel_values}}",
    *(f"~model.dims.{dim}" for dim in ("sequence", "decoder_sequence", "samples")),
)
# Name, class, configuration.
TRANSFORMERS = (
    ("BERT", "AutoModelForSequenceClassification", f"model_type: bert, {TEXT}"),
    ("RoBERTa", "AutoModelForSequenceClassification", f"model_type: roberta, {TEXT}, max_position_embeddings: 80"),
    (
        "DistilBERT",
        "AutoModelForQuestionAnswering",
        "model_type: distilbert, dim: 32, n_layers: 2, n_heads: 2, hidden_dim: 64, vocab_size: 120",
    ),
    ("ALBERT", "AutoModelForMaskedLM", f"model_type: albert, {TEXT}, embedding_size: 16"),
    ("ELECTRA", "AutoModelForTokenClassification", f"model_type: electra, {TEXT}, embedding_size: 16"),
    (
        "DeBERTa-v2",
        "AutoModelForSequenceClassification",
        f"model_type: deberta-v2, {TEXT}, relative_attention: true, pos_att_type: [p2c, c2p], "
        "max_relative_positions: 16",
    ),
    ("MPNet", "AutoModel", f"model_type: mpnet, {TEXT}"),
    (
        "GPT-2",
        "AutoModelForCausalLM",
        "model_type: gpt2, n_embd: 32, n_layer: 2, n_head: 2, vocab_size: 120, bos_token_id: 1, eos_token_id: 1",
    ),
    (
        "OPT",
        "AutoModelForCausalLM",
        "model_type: opt, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, vocab_size: 120, ffn_dim: 64, "
        "word_embed_proj_dim: 32",
    ),
    ("Llama", "AutoModelForCausalLM", f"model_type: llama, {TEXT}, num_key_value_heads: 2"),
    ("Mistral", "AutoModelForCausalLM", f"model_type: mistral, {TEXT}, num_key_value_heads: 2"),
    ("Qwen2", "AutoModelForCausalLM", f"model_type: qwen2, {TEXT}, num_key_value_heads: 2"),
    ("BART", "AutoModel", f"model_type: bart, {SEQ2SEQ}"),
    ("T5 encoder", "T5EncoderModel", f"model_type: t5, {T5}"),
    ("T5", "AutoModelForSeq2SeqLM", f"model_type: t5, {T5}"),
    ("ViT", "AutoModelForImageClassification", f"model_type: vit, {IMAGES}, patch_size: 8"),
    (
        "DINOv2",
        "AutoModelForImageClassification",
        "model_type: dinov2, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, image_size: 32, "
        "patch_size: 8",
    ),
    ("BEiT", "AutoModelForImageClassification", f"model_type: beit, {IMAGES}, patch_size: 8"),
    (
        "Swin",
        "AutoModelForImageClassification",
        "model_type: swin, embed_dim: 16, depths: [2, 2], num_heads: [2, 2], image_size: 32, window_size: 4",
    ),
    ("SegFormer", "AutoModelForSemanticSegmentation", SEGFORMER),
    ("ConvNeXtV2", "AutoModelForImageClassification", f"model_type: convnextv2, {STAGES}"),
    (
        "CLIP",
        "CLIPModel",
        f"model_type: clip, text_config: {{{TEXT}}}, vision_config: {{{IMAGES}, patch_size: 8}}, projection_dim: 16",
    ),
    (
        "wav2vec 2.0",
        "AutoModelForCTC",
        f"model_type: wav2vec2, {TEXT}, conv_dim: [16, 16, 16], conv_kernel: [10, 3, 3], conv_stride: [5, 2, 2], "
        "num_conv_pos_embeddings: 16, num_conv_pos_embedding_groups: 2",
    ),
    (
        "Whisper",
        "AutoModelForSpeechSeq2Seq",
        f"model_type: whisper, {SEQ2SEQ}, max_source_positions: 20, max_target_positions: 80, num_mel_bins: 16, "
        "pad_token_id: 0, bos_token_id: 1, eos_token_id: 2, decoder_start_token_id: 1",
    ),
    (
        "Audio Spectrogram Transformer",
        "AutoModelForAudioClassification",
        "model_type: audio-spectrogram-transformer, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, "
        "intermediate_size: 64, max_length: 64, num_mel_bins: 32",
    ),
)
MOBILEVIT = "hidden_sizes: [16, 24, 32], neck_hidden_sizes: [8, 8, 16, 24, 32, 40, 64], image_size: 64"
TRANSFORMERS_BESIDES = (
    (
        "XLM-RoBERTa",
        "AutoModelForSequenceClassification",
        f"model_type: xlm-roberta, {TEXT}, max_position_embeddings: 80",
    ),
    ("Gemma", "AutoModelForCausalLM", f"model_type: gemma, {TEXT}, num_key_value_heads: 2, head_dim: 16"),
    ("DeiT", "DeiTForImageClassification", f"model_type: deit, {IMAGES}, patch_size: 8"),
    ("MobileViT", "AutoModelForImageClassification", f"model_type: mobilevit, {MOBILEVIT}"),
    ("CLIP text", "CLIPTextModel", f"model_type: clip_text_model, {TEXT}, eos_token_id: 119"),
    ("CLIP vision", "CLIPVisionModel", f"model_type: clip_vision_model, {IMAGES}, patch_size: 8"),
    (
        "YOLOS",
        "AutoModelForObjectDetection",
        f"model_type: yolos, {IMAGES.replace('image_size: 32', 'image_size: [32, 32]')}, patch_size: 8, "
        "num_detection_tokens: 5",
    ),
)


def chosen() -> Iterator[Subject]:
    """Torchvision's classifiers but for the largest, a segmenter, a video classifier, and 25 transformers."""
    from torchvision import models

    for subject in subjects():
        if subject.family == "torchvision classification":
            weights = models.get_model_weights(subject.name).DEFAULT
            fits = weights.meta["num_params"] <= MOST_PARAMETERS
        else:
            fits = subject.name in OTHERS
        if fits:
            yield replace(subject, overrides=tuple(TWO if o == BATCH else o for o in subject.overrides))
    yield from (transformer(entry) for entry in TRANSFORMERS if entry[0] in SHARED)
    yield from map(transformer, TRANSFORMERS_BESIDES)


def transformer(entry: tuple[str, str, str]) -> Subject:
    """A transformers model with random weights, of its name, class and configuration."""
    name, task, config = entry
    return Subject(
        "transformers",
        f"{name} ({task})",
        (
            "model=transformers",
            f"model.name='{name.replace(' ', '_')}'",
            f"model.factory=transformers.{task}",
            f"+model.kwargs={{{config}}}",
            *(PIXELS if name == "SegFormer" else ()),
        ),
    )
