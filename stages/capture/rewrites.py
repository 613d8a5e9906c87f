"""Parts of torchvision's detectors in other words: the same results, without asking for sizes that depend on data.

torch.export cannot branch on how many boxes there are. Each function here stands in for the one that it names while a
module is captured, and the checks hold what comes of it to the module as it is.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock


@contextlib.contextmanager
def in_place() -> Iterator[None]:
    """For the length of one capture; without effect where torchvision's operators are not in use."""
    with contextlib.ExitStack() as replaced:
        if "torchvision.ops" in sys.modules:
            replaced.enter_context(mock.patch("torchvision.ops.boxes.batched_nms", _batched_nms))
            replaced.enter_context(mock.patch("torchvision.ops.batched_nms", _batched_nms))
            replaced.enter_context(mock.patch("torchvision.ops.poolers._multiscale_roi_align", _multiscale_roi_align))
        yield


def _batched_nms(boxes: Any, scores: Any, idxs: Any, iou_threshold: float) -> Any:
    """torchvision.ops.boxes.batched_nms by its coordinate trick, however many boxes there are."""
    import torch
    from torchvision.ops import nms

    # The zero is for images in which nothing was found: there is no largest coordinate of no boxes.
    largest = torch.cat([boxes.flatten(), boxes.new_zeros(1)]).max()
    offsets = idxs.to(boxes) * (largest + 1)
    return nms(boxes + offsets[:, None], scores, iou_threshold)


def _multiscale_roi_align(
    x_filtered: Sequence[Any],
    boxes: Sequence[Any],
    output_size: Sequence[int],
    sampling_ratio: int,
    scales: Sequence[float],
    mapper: Any,
) -> Any:
    """torchvision.ops.poolers._multiscale_roi_align, its results put in order rather than written to their places."""
    import torch
    from torchvision.ops import poolers, roi_align

    rois = poolers._convert_to_roi_format(list(boxes))
    if len(x_filtered) == 1:
        return roi_align(x_filtered[0], rois, output_size, scales[0], sampling_ratio)
    levels = mapper(boxes)
    places = [torch.where(levels == level)[0] for level in range(len(x_filtered))]
    pooled = [
        roi_align(features, rois[place], output_size, scale, sampling_ratio)
        for features, place, scale in zip(x_filtered, places, scales, strict=True)
    ]
    return torch.cat(pooled)[torch.argsort(torch.cat(places))]
