"""The models of benchmarks/coverage.py: family, name, and what to type to get it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# Three sizes of the batch, or more where an odd one fits between: 1, 2, 3.
BATCH = "model.dims.batch={min: 1, opt: 2, max: 3}"


@dataclass(frozen=True)
class Subject:
    """A model to be converted.

    Args:
        family: The heading of its table.
        name: What people call it.
        overrides: What the command line gets.
    """

    family: str
    name: str
    overrides: tuple[str, ...]


CLASSIFIERS_BY_SIZE = {299: ("inception_v3",)}
# What a detector with random weights is asked for: some detections, few enough that none are tied.
DETECTORS = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": "box_",
    "fasterrcnn_mobilenet_v3_large_fpn": "box_",
    "fasterrcnn_resnet50_fpn": "box_",
    "fasterrcnn_resnet50_fpn_v2": "box_",
    "fcos_resnet50_fpn": "",
    "keypointrcnn_resnet50_fpn": "box_",
    "maskrcnn_resnet50_fpn": "box_",
    "maskrcnn_resnet50_fpn_v2": "box_",
    "retinanet_resnet50_fpn": "",
    "retinanet_resnet50_fpn_v2": "",
    "ssd300_vgg16": "",
    "ssdlite320_mobilenet_v3_large": "",
}
TIMM = {
    224: (
        "resnet18", "resnext50_32x4d", "seresnet33ts", "resnest14d", "regnetx_002", "densenet121", "dpn48b",
        "efficientnet_b0", "mobilenetv3_small_050", "mobilenetv4_conv_small", "ghostnet_100", "mnasnet_050",
        "rexnet_100", "hrnet_w18_small", "repvgg_a0", "mobileone_s0", "convnext_atto", "convnextv2_atto",
        "vit_tiny_patch16_224", "deit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "cait_xxs24_224",
        "convit_tiny", "levit_128s", "mixer_s32_224", "resmlp_12_224", "poolformer_s12", "pit_ti_224", "pvt_v2_b0",
        "xcit_nano_12_p16_224", "twins_pcpvt_small", "visformer_tiny", "efficientformer_l1", "davit_tiny",
    ),
    256: ("mobilevit_xxs", "edgenext_xx_small", "swinv2_tiny_window8_256", "fastvit_t8"),
}  # fmt: skip
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


def subjects() -> Iterator[Subject]:
    """Every model, in the order of the tables."""
    from torchvision import models

    for name in models.list_models(module=models):
        side = next((s for s, names in CLASSIFIERS_BY_SIZE.items() if name in names), 224)
        shape = f"model.inputs.input.shape=[batch, 3, {side}, {side}]"
        yield Subject("torchvision classification", name, ("model=torchvision", f"model.name={name}", shape, BATCH))
    for name in models.list_models(module=models.segmentation):
        yield Subject("torchvision segmentation", name, ("model=torchvision_segmentation", f"model.name={name}", BATCH))
    for name, prefix in DETECTORS.items():
        asked = (
            "model.factory=benchmarks.coverage_nets.detector",
            f"+model.kwargs.{prefix}score_thresh=0.0",
            f"+model.kwargs.{prefix}detections_per_img=5",
        )
        yield Subject("torchvision detection", name, ("model=torchvision_detection", f"model.name={name}", *asked))
    for name in models.list_models(module=models.video):
        side = 224 if name.startswith(("mvit", "s3d")) else 112
        shape = f"model.inputs.input.shape=[batch, 3, 16, {side}, {side}]"
        yield Subject("torchvision video", name, ("model=torchvision_video", f"model.name={name}", shape, BATCH))
    for name in models.list_models(module=models.optical_flow):
        yield Subject("torchvision optical flow", name, ("model=torchvision_flow", f"model.name={name}", BATCH))
    for side, names in TIMM.items():
        shape = f"model.inputs.input.shape=[batch, 3, {side}, {side}]"
        for name in names:
            yield Subject("timm", name, ("model=timm", f"model.name={name}", shape, BATCH))
    yield from map(transformer, TRANSFORMERS)


def transformer(told: tuple[str, str, str]) -> Subject:
    """A transformers model with random weights, of its name, class and configuration."""
    name, task, config = told
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
