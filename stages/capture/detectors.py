"""Parts of torchvision's detectors in words that converters understand: without loops over boxes, and branches.

Each has a row for each box, of which there may be none.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

CLASSES_IN_A_ROW = 10  # of squares for the boxes of a class
CUBIC = -0.75  # torch's coefficient of bicubic interpolation
HEADS = "torchvision.models.detection.roi_heads"


@contextlib.contextmanager
def in_place() -> Iterator[None]:
    """Rewrites them during one capture; without effect where torchvision's detectors are not imported."""
    parts: dict[str, Any] = {}
    if "torchvision.ops" in sys.modules:
        parts |= dict.fromkeys(("torchvision.ops.boxes.batched_nms", "torchvision.ops.batched_nms"), _batched_nms)
        parts["torchvision.ops.poolers._multiscale_roi_align"] = _multiscale_roi_align
    if HEADS in sys.modules:
        parts["torchvision.models.detection.transform.paste_masks_in_image"] = _paste_masks_in_image
        parts[f"{HEADS}.heatmaps_to_keypoints"] = _heatmaps_to_keypoints
    with contextlib.ExitStack() as replaced:
        for place, part in parts.items():
            replaced.enter_context(mock.patch(place, part))
        yield


def _batched_nms(boxes: Any, scores: Any, idxs: Any, iou_threshold: float) -> Any:
    """torchvision.ops.boxes.batched_nms by its coordinate trick, however many boxes there are.

    Each class has a square of its own, in rows of ten: a hundred squares in one row would round coordinates to 1/500.
    """
    import torch
    from torchvision.ops import nms

    # The zero is for images without boxes, which have no largest coordinate.
    largest = torch.cat([boxes.flatten(), boxes.new_zeros(1)]).max()
    squares = torch.stack([idxs % CLASSES_IN_A_ROW, idxs // CLASSES_IN_A_ROW] * 2, 1).to(boxes)
    return nms(boxes + squares * (largest + 1), scores, iou_threshold)


def _multiscale_roi_align(
    x_filtered: Sequence[Any],
    boxes: Sequence[Any],
    output_size: Sequence[int],
    sampling_ratio: int,
    scales: Sequence[float],
    mapper: Any,
) -> Any:
    """torchvision.ops.poolers._multiscale_roi_align, with its results taken from their places instead of written."""
    import torch
    from torchvision.ops import poolers, roi_align

    rois = poolers._convert_to_roi_format(list(boxes))
    if len(x_filtered) == 1:
        return roi_align(x_filtered[0], rois, output_size, scales[0], sampling_ratio)
    levels = mapper(boxes)
    at_level = torch.stack([levels == level for level in range(len(x_filtered))]).to(torch.int64)
    pooled = [
        roi_align(features, rois[torch.where(levels == level)[0]], output_size, scale, sampling_ratio)
        for level, (features, scale) in enumerate(zip(x_filtered, scales, strict=True))
    ]
    counts = at_level.sum(1, keepdim=True)
    # Of each box among those of its level, after those of the levels before.
    places = (at_level * (at_level.cumsum(1) - 1 + counts.cumsum(0) - counts)).sum(0)
    if isinstance(rois.shape[0], torch.SymInt):
        torch._check(rois.shape[0] > 0)  # torch wants to know of a convolution's input; no converter keeps it
    return torch.cat(pooled)[places]


def _paste_masks_in_image(masks: Any, boxes: Any, img_shape: Sequence[int], padding: int = 1) -> Any:
    """torchvision's function of that name, for all masks [n, 1, size, size] at once: two products of matrices."""
    import torch
    from torchvision.models.detection import roi_heads

    masks, scale = roi_heads.expand_masks(masks, padding=padding)
    boxes = roi_heads.expand_boxes(boxes, scale).to(torch.int64)
    size = masks.shape[-1]
    sides = []
    for side, length in enumerate(img_shape):
        begin, end = boxes[:, 1 - side, None], boxes[:, 3 - side, None]
        pixels = torch.arange(length)
        step = size / (end - begin + 1).clamp(min=1).to(masks)
        at = ((pixels - begin).to(masks) + 0.5) * step - 0.5
        weights = _near(at.clamp(0, size - 1), size)
        sides.append(weights * ((pixels >= begin) & (pixels <= end))[..., None])
    rows, columns = sides
    return (rows @ masks[:, 0] @ columns.transpose(1, 2))[:, None]


def _near(at: Any, size: int) -> Any:
    """The weights of bilinear interpolation at places [n, places] between `size` numbers, [n, places, size]."""
    import torch

    return (1 - (at[..., None] - torch.arange(size)).abs()).clamp(min=0)


def _heatmaps_to_keypoints(maps: Any, rois: Any) -> Any:
    """torchvision's function of that name, for all boxes at once: a heat map [n, size, size] of one keypoint at a time.

    Each is resized to the largest box, and beyond its own box it has no maximum.
    """
    import torch

    sides = []
    for side in (1, 0):
        length = (rois[:, 2 + side] - rois[:, side]).clamp(min=1)
        cells = length.ceil()
        longest = torch.cat([cells, cells.new_ones(1)]).max().to(torch.int64)
        # A trace keeps the tensor, and torch.export a symbol.
        count: Any = longest if torch._C._get_tracing_state() else longest.item()
        numbers = torch.arange(count, dtype=torch.float32)
        places = (numbers + 0.5) * (maps.shape[3 - side] / cells)[:, None] - 0.5
        cell, begin = length / cells, rois[:, side]
        sides.append((_cubic(places, maps.shape[3 - side]), numbers < cells[:, None], cell, begin, longest))
    (rows, in_rows, height, top, _), (columns, in_columns, width, left, across) = sides
    inside = in_rows[:, :, None] & in_columns[:, None]
    positions, scores = [], []
    for heat in maps.unbind(1):
        resized = torch.where(inside, rows @ heat @ columns.transpose(1, 2), float("-inf")).flatten(1)
        score, place = resized.max(1)
        y = place // across
        x = place - y * across
        x, y = (x.float() + 0.5) * width + left, (y.float() + 0.5) * height + top
        positions.append(torch.stack([x, y, torch.ones_like(x)], 1))
        scores.append(score)
    return torch.stack(positions, 1), torch.stack(scores, 1)


def _cubic(at: Any, size: int) -> Any:
    """The weights of bicubic interpolation at places [n, places] between `size` numbers, [n, places, size].

    Source: Keys, "Cubic convolution interpolation", https://doi.org/10.1109/TASSP.1981.1163711
    """
    import torch

    first, numbers = at.floor(), torch.arange(size)
    weights: Any = 0
    for tap in (-1, 0, 1, 2):
        distance = (at - first - tap).abs()
        near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance * distance + 1
        far = ((distance - 5) * distance + 8) * distance * CUBIC - 4 * CUBIC
        weight = near if tap in (0, 1) else far
        weights = weights + weight[..., None] * ((first + tap).clamp(0, size - 1)[..., None] == numbers)
    return weights
