"""The models of benchmarks/coreml.py: those of the coverage that are in its list, and the few that only it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.coverage_models import BATCH, IMAGES, TEXT, TRANSFORMERS, Subject, subjects, transformer

MOST_PARAMETERS = 300e6
# Two sizes of the batch, for a check at two shapes.
TWO = "model.dims.batch={min: 1, opt: 2, max: 2}"
OTHERS = ("deeplabv3_resnet50", "r3d_18")
SHARED = (
    *("BERT", "RoBERTa", "DistilBERT", "ALBERT", "ELECTRA", "DeBERTa-v2", "MPNet", "GPT-2", "OPT", "Llama", "Qwen2"),
    *("T5 encoder", "ViT", "DINOv2", "Swin", "SegFormer", "ConvNeXtV2", "wav2vec 2.0"),
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
    yield from (transformer(told) for told in TRANSFORMERS if told[0] in SHARED)
    yield from map(transformer, TRANSFORMERS_BESIDES)
