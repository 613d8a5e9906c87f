"""loading/detections.py."""

from __future__ import annotations

import pytest
import torch
import transformers
from transformers import AutoConfig

from pipeline.errors import ConfigError
from stages.loading.detections import Detections

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
BACKBONE = {
    "model_type": "resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 8, 16],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "out_features": ["stage4"],
}
DETR = {
    "d_model": 16,
    **{f"{part}_{field}": 1 for part in ("encoder", "decoder") for field in ("layers", "attention_heads", "ffn_dim")},
    "num_queries": 60,
    "use_timm_backbone": False,
    "backbone": None,
    "backbone_config": BACKBONE,
    "num_labels": 3,
}


@pytest.mark.parametrize(
    ("name", "processor", "config"),
    [
        (
            "YolosForObjectDetection",
            "YolosImageProcessorPil",
            {"model_type": "yolos", **SIZES, "image_size": [64, 64], "patch_size": 16, "num_detection_tokens": 5},
        ),
        (
            "ConditionalDetrForObjectDetection",
            "ConditionalDetrImageProcessorPil",
            {"model_type": "conditional_detr", **DETR},
        ),
    ],
)
@torch.no_grad()
def test_scores_labels_and_boxes_are_those_of_the_librarys_own_post_processing(name, processor, config):
    torch.manual_seed(0)
    net = getattr(transformers, name)._from_config(AutoConfig.for_model(**config)).eval()
    pictures = torch.randn(2, 3, 64, 64)
    detections = Detections(net)(pictures)
    expected = getattr(transformers, processor)().post_process_object_detection(net(pictures), threshold=-1)
    for key in ("scores", "labels", "boxes"):
        torch.testing.assert_close(detections[key], torch.stack([e[key] for e in expected]))


def test_what_is_no_detector_is_refused():
    net = transformers.BertModel(transformers.BertConfig(**SIZES, vocab_size=20))
    with pytest.raises(ConfigError, match="BertModel is no detector"):
        Detections(net)
