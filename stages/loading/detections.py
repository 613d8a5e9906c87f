"""Turns the logits of a transformers detector into scores, labels and boxes, always the same number.

Source: post_process_object_detection of each architecture's image processor, without a threshold
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pipeline.errors import ConfigError

# These have a class for "no object": the scores of the others are a softmax that includes it.
NOTHING_IS_A_CLASS = ("detr", "table-transformer", "yolos")
# The most detections that the library keeps for these; for the others, as many as the model has queries.
MOST = {"conditional_detr": 100, "deformable_detr": 100, "dab-detr": 100, "lw_detr": 100}


class Detections(nn.Module):
    """A picture in; `scores` [batch, found] in 0..1, `labels` [batch, found], `boxes` [batch, found, 4] out.

    Boxes are left, top, right, bottom, in shares of the picture's width and height.

    Args:
        detector: A transformers detector with `logits` [batch, queries, classes] and `pred_boxes` [batch, queries, 4].

    Raises ConfigError for a model that is no such detector.
    """

    main_input_name = "pixel_values"

    def __init__(self, detector: Any) -> None:
        super().__init__()
        if not type(detector).__name__.endswith("ForObjectDetection"):
            raise ConfigError(
                f"detections is true, and {type(detector).__name__} is no detector",
                allowed="a class that ends in ForObjectDetection",
                command="stages.load.detections=false",
            )
        self.detector, self.config = detector, detector.config
        self.kind = str(self.config.model_type)

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        raw = self.detector(pixel_values=pixel_values)
        boxes = corners(raw.pred_boxes)
        if self.kind in NOTHING_IS_A_CLASS:
            scores, labels = raw.logits.softmax(-1)[..., :-1].max(-1)
            return {"scores": scores, "labels": labels, "boxes": boxes}
        queries, classes = raw.logits.shape[1:]
        count = min(MOST.get(self.kind, queries), queries * classes)
        scores, places = raw.logits.sigmoid().flatten(1).topk(count, dim=1)
        queried = torch.div(places, classes, rounding_mode="floor")
        boxes = boxes.gather(1, queried.unsqueeze(-1).expand(-1, -1, 4))
        return {"scores": scores, "labels": places % classes, "boxes": boxes}


def corners(boxes: torch.Tensor) -> torch.Tensor:
    """Left, top, right, bottom of boxes that have center, width and height in the last dimension."""
    x, y, width, height = boxes.unbind(-1)
    return torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], dim=-1)
