"""capture/detectors.py: parts of torchvision's detectors answer the same, and pass through captures."""

from __future__ import annotations

import pytest
import torch
from conversions import agrees, export
from torch import nn
from torchvision import ops
from torchvision.models.detection import roi_heads, transform

from stages.capture import detectors
from stages.interface.interface import Input


def boxes(count, seed=0):
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)) * 100
    return torch.cat([corners.amin(1), corners.amax(1) + 1], dim=1)


@pytest.mark.parametrize("count", [0, 1, 40, 2000])
def test_the_same_boxes_are_kept(count):
    # No two scores are equal: which of two such boxes comes first is nobody's promise.
    scores = torch.randperm(count, generator=torch.Generator().manual_seed(1)) / max(count, 1)
    some, idxs = boxes(count), torch.arange(count) % 3
    expected = ops.batched_nms(some, scores, idxs, 0.5)
    with detectors.in_place():
        torch.testing.assert_close(ops.batched_nms(some, scores, idxs, 0.5), expected)


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 40])
def test_the_same_features_are_pooled(levels, count):
    pool = ops.MultiScaleRoIAlign([str(n) for n in range(levels)], output_size=4, sampling_ratio=2)
    features = {str(n): torch.rand(1, 8, 64 >> n, 64 >> n) for n in range(levels)}
    arguments = (features, [boxes(count)], [(128, 128)])
    expected = pool(*arguments)
    with detectors.in_place():
        torch.testing.assert_close(pool(*arguments), expected)


def test_torchvision_is_as_it_was_afterwards():
    def parts():
        own = ops.batched_nms, ops.boxes.batched_nms, ops.poolers._multiscale_roi_align
        return *own, transform.paste_masks_in_image, roi_heads.heatmaps_to_keypoints

    before = parts()
    with pytest.raises(ValueError, match="in between"), detectors.in_place():
        raise ValueError("in between")
    assert parts() == before


BOXES = torch.tensor([[3.0, 4, 20, 30], [-5, -2.5, 9, 7], [30, 20, 50.5, 44], [10, 10, 10.2, 10.1], [0, 0, 48, 36]])


@pytest.mark.parametrize("count", [0, 1, 5])
def test_the_same_masks_are_pasted(count):
    masks = torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    arguments = (masks, BOXES[:count], (36, 48))
    expected = transform.paste_masks_in_image(*arguments)
    with detectors.in_place():
        torch.testing.assert_close(transform.paste_masks_in_image(*arguments), expected)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_the_same_keypoints_are_found(count):
    maps = torch.randn(count, 3, 14, 14, generator=torch.Generator().manual_seed(3))
    expected = roi_heads.heatmaps_to_keypoints(maps, BOXES[:count])
    with detectors.in_place():
        torch.testing.assert_close(roi_heads.heatmaps_to_keypoints(maps, BOXES[:count]), expected)


class Draw(nn.Module):
    """The end of a detector of persons: masks and keypoints of as many boxes as have a score."""

    def forward(self, scores, masks, maps):
        some = torch.where(scores > 0.5)[0]
        boxes = torch.cat([masks[:, 0, 0, :2] * 20, masks[:, 0, 0, :2] * 20 + masks[:, 0, 1, :2] * 30], 1)[some]
        pasted = transform.paste_masks_in_image(masks[some], boxes, (36, 48))
        return (pasted, *roi_heads.heatmaps_to_keypoints(maps[some], boxes))


@pytest.mark.parametrize("how", ["trace", "export"])
def test_as_many_masks_and_keypoints_as_there_are_pass_through_captures(how, tmp_path):
    inputs = {"scores": Input([6]), "masks": Input([6, 1, 28, 28]), "maps": Input([6, 3, 14, 14], fill="normal")}
    agrees(export(how, Draw(), tmp_path, inputs=inputs, dims={}), tmp_path)


class Suppress(nn.Module):
    """The end of a detector: of overlapping boxes of a class, the best."""

    def forward(self, corners, scores):
        some = torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:]], dim=1)
        places = ops.batched_nms(some, scores, (scores * 100).to(torch.int64) % 2, 0.3)
        return some[places], scores[places]


def test_as_many_boxes_as_there_are_pass_through_torch_export(tmp_path):
    inputs = {"corners": Input([40, 4]), "scores": Input([40])}
    agrees(export("export", Suppress(), tmp_path, inputs=inputs, dims={}), tmp_path)


class FindsNothing(Suppress):
    """Every score is below what is asked for."""

    def forward(self, corners, scores):
        above = torch.where(scores > scores.sum())[0]
        found_boxes = super().forward(corners[above], scores[above])
        return (*found_boxes, scores * 2)


def test_an_image_in_which_nothing_is_found_passes_too(tmp_path):
    inputs = {"corners": Input([40, 4]), "scores": Input([40])}
    agrees(export("export", FindsNothing(), tmp_path, inputs=inputs, dims={}), tmp_path)
