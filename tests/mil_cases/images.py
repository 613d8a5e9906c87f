"""Resizing and resampling."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812
from torchvision.ops import roi_align

from mil_cases.case import IOS15, IOS16, IOS17, Case, i32, normal, t

# From the documentation of resize_bilinear: samples of [0, 1] at five and at six places.
DOCUMENTED = {
    "UNALIGN_CORNERS": ([0, 0.1, 0.5, 0.9, 1], [0, 0, 1 / 3, 2 / 3, 1, 1]),
    "STRICT_ALIGN_CORNERS": ([0, 0.25, 0.5, 0.75, 1], [0, 0.2, 0.4, 0.6, 0.8, 1]),
    "ALIGN_CORNERS": ([0, 0.25, 0.5, 0.75, 1], [0, 0.2, 0.4, 0.6, 0.8, 1]),
    "DEFAULT": ([0, 0.4, 0.8, 1, 1], [0, 1 / 3, 2 / 3, 1, 1, 1]),
    "OFFSET_CORNERS": ([0.1, 0.3, 0.5, 0.7, 0.9], [0.5 / 6, 1.5 / 6, 2.5 / 6, 3.5 / 6, 4.5 / 6, 5.5 / 6]),
}


def resizes(rng):
    for mode, answers in DOCUMENTED.items():
        for row in answers:
            x = np.array([[[0, 1]]], np.float32)
            sizes = {"target_size_height": np.int32(1), "target_size_width": np.int32(len(row))}
            expected = torch.tensor([[row]]).float()
            yield Case("resize_bilinear", {"x": x, **sizes, "sampling_mode": mode}, expected)
    x = normal(rng, 2, 3, 5, 7)
    middle = t(x)[:, :, 2:3, 3:4]
    one = {"target_size_height": np.int32(1), "target_size_width": np.int32(1), "sampling_mode": "ALIGN_CORNERS"}
    yield Case("resize_bilinear", {"x": x, **one}, middle)
    for size in ((5, 7), (9, 4), (10, 14), (3, 21)):
        sizes = {"target_size_height": np.int32(size[0]), "target_size_width": np.int32(size[1])}
        corners = F.interpolate(t(x), size, mode="bilinear", align_corners=True)
        yield Case("resize_bilinear", {"x": x, **sizes, "sampling_mode": "STRICT_ALIGN_CORNERS"}, corners)
        centres = F.interpolate(t(x), size, mode="bilinear", align_corners=False)
        yield Case("resize_bilinear", {"x": x, **sizes, "sampling_mode": "UNALIGN_CORNERS"}, centres)
        nearest = F.interpolate(t(x), size, mode="nearest")  # rounds down
        yield Case("resize_nearest_neighbor", {"x": x, **sizes}, nearest)
        shaped = {"x": x, "shape": i32(1, *size), "resized_dims": np.int32(2)}
        yield Case("resize", {**shaped, "sampling_mode": "UNALIGN_CORNERS"}, centres, IOS17)
        exact = F.interpolate(t(x), size, mode="nearest-exact")
        modes = {"interpolation_mode": "NEAREST_NEIGHBOR", "sampling_mode": "UNALIGN_CORNERS"}
        yield Case("resize", {**shaped, **modes}, exact, IOS17)
    # From coremltools' ops/tests/iOS17/test_image_resizing.py: the nearest is the nearest.
    two = np.float32([-6.174, 9.371]).reshape(1, 1, 2, 1)
    inputs = {"x": two, "shape": i32(1, 1, 3, 2), "resized_dims": np.int32(2), "interpolation_mode": "NEAREST_NEIGHBOR"}
    yield Case("resize", inputs, t(two)[:, :, [0, 1, 1]].expand(1, 1, 3, 2), IOS17)
    aligned = F.interpolate(t(x), (5, 14), mode="bilinear", align_corners=True)
    inputs = {"x": x, "shape": i32(0, 14), "resized_dims": np.int32(2), "sampling_mode": "ALIGN_CORNERS"}
    yield Case("resize", inputs, aligned, IOS17)


def upsamples(rng):
    x = normal(rng, 2, 3, 4, 6)
    for scales in ((2, 3), (1.5, 0.5), (1.0, 2.5)):
        factors = dict(zip(("scale_factor_height", "scale_factor_width"), map(np.float32, scales), strict=True))
        size = [int(n * s) for n, s in zip(x.shape[2:], scales, strict=True)]
        yield Case("upsample_nearest_neighbor", {"x": x, **factors}, F.interpolate(t(x), size, mode="nearest"))
        for corners in (False, True):
            expected = F.interpolate(t(x), size, mode="bilinear", align_corners=corners)
            inputs = {"x": x, **factors, "align_corners": np.bool_(corners)}
            yield Case("upsample_bilinear", inputs, expected, IOS15)
            yield Case("upsample_bilinear", {**inputs, "half_pixel_centers": np.bool_(not corners)}, expected, IOS16)


def samples(rng):
    x = normal(rng, 2, 3, 5, 6)
    coordinates = (rng.random((2, 4, 7, 2)) * 3 - 1.5).astype(np.float32)
    modes = {("constant", True): "zeros", ("constant", False): "zeros", ("border", True): "border"}
    modes |= {("border", False): "border", ("reflection", True): "reflection", ("symmetric", False): "reflection"}
    for (mode, corners), theirs in modes.items():
        for how in ("bilinear", "nearest"):
            expected = F.grid_sample(t(x), t(coordinates), how, theirs, corners)
            inputs = {"x": x, "coordinates": coordinates, "sampling_mode": how, "padding_mode": mode}
            inputs |= {"padding_value": np.float32(0), "align_corners": np.bool_(corners)}
            minus = {**inputs, "coordinates_mode": "normalized_minus_one_to_one"}
            yield Case("resample", minus, expected, close=1e-5)
            share = {**inputs, "coordinates": (coordinates + 1) / 2, "coordinates_mode": "normalized_zero_to_one"}
            if how == "bilinear":
                yield Case("resample", share, expected, close=1e-4)
    pixels = np.array([[[[0, 0], [5, 4], [2.5, 1], [-9, 0]]]], np.float32)
    inputs = {"x": x[:1], "coordinates": pixels, "sampling_mode": "bilinear", "padding_mode": "constant"}
    inputs |= {"padding_value": np.float32(3), "align_corners": np.True_, "coordinates_mode": "unnormalized"}
    v = t(x[:1])
    expected = torch.stack([v[..., 0, 0], v[..., 4, 5], v[..., 1, 2:4].mean(-1), torch.full((1, 3), 3.0)], -1)
    yield Case("resample", inputs, expected[:, :, None])
    for maps in (normal(rng, 2, 6), normal(rng, 1, 6)):
        grid = F.affine_grid(t(maps).reshape(-1, 2, 3).expand(2, 2, 3), [2, 3, 4, 7], align_corners=True)
        expected = F.grid_sample(t(x), grid, align_corners=True)
        inputs = {"x": x, "transform_matrix": maps, "output_height": np.int32(4), "output_width": np.int32(7)}
        inputs |= {"sampling_mode": "bilinear", "padding_mode": "constant", "padding_value": np.float32(0)}
        inputs |= {"coordinates_mode": "normalized_minus_one_to_one", "align_corners": np.True_}
        yield Case("affine", inputs, expected, close=1e-4)


def crops(rng):
    x = normal(rng, 2, 3, 9, 9)
    low = rng.integers(0, 3, (4, 2))
    boxes = np.concatenate([low, low + rng.integers(2, 6, (4, 2))], 1).astype(np.float32)  # width first
    which = i32(0, 1, 1, 0)
    rois = torch.cat([t(which)[:, None].float(), t(boxes)], 1)
    aligned = roi_align(t(x), rois, (3, 2), sampling_ratio=1)
    sizes = {"target_height": np.int32(3), "target_width": np.int32(2), "sampling_mode": "OFFSET_CORNERS"}
    width = {"box_coordinate_mode": "CORNERS_WIDTH_FIRST"}
    yield Case(
        "crop_resize", {"x": x, "boxes": boxes, "box_indices": which, **sizes, **width}, aligned, IOS17, close=1e-5
    )
    roi = rois.numpy().reshape(4, 1, 5, 1, 1)
    yield Case("crop_resize", {"x": x, "roi": roi, **sizes, **width}, aligned[:, None], IOS16, close=1e-5)
    all_of_them = torch.stack([roi_align(t(x[i : i + 1]), [t(boxes)], (3, 2), sampling_ratio=1) for i in range(2)], 1)
    inputs = {"x": x, "roi": boxes.reshape(4, 1, 4, 1, 1), **sizes, **width}
    yield Case("crop_resize", inputs, all_of_them, IOS15, close=1e-5)
    centred = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)[:, [1, 0, 3, 2]]
    inputs = {"x": x, "boxes": centred / 8, "box_indices": which, **sizes, "normalized_coordinates": np.True_}
    inputs["box_coordinate_mode"] = "CENTER_SIZE_HEIGHT_FIRST"
    yield Case("crop_resize", inputs, aligned, IOS17, close=1e-4)
    whole = {
        "x": x,
        "boxes": np.array([[0, 0, 8, 8]], np.float32),
        "box_indices": i32(1),
        "sampling_mode": "ALIGN_CORNERS",
    }
    corners = F.interpolate(t(x[1:]), (5, 4), mode="bilinear", align_corners=True)
    yield Case("crop_resize", {**whole, "target_height": np.int32(5), "target_width": np.int32(4)}, corners, IOS17)
    outside = {
        "x": x,
        "boxes": np.array([[20, 20, 22, 22]], np.float32),
        "box_indices": i32(0),
        "pad_value": np.float32(5),
    }
    yield Case("crop_resize", outside, torch.full((1, 3, 1, 1), 5.0), IOS17)
    # From the same file: a box whose right side is left of its left one, in shares of the image.
    inputs = {"x": np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4), "box_indices": i32(0)}
    inputs |= {"target_height": np.int32(2), "target_width": np.int32(2), "sampling_mode": "ALIGN_CORNERS"}
    inputs |= {"normalized_coordinates": np.True_, "pad_value": np.float32(10)}
    mirrored = torch.tensor([[[[10, 7.9], [10, 13.9]]]])
    yield Case("crop_resize", {**inputs, "boxes": np.float32([[0.5, 1.8, 1, 0.3]])}, mirrored, IOS17)
    between = {**outside, "boxes": np.array([[-0.5, 2, 1, 2]], np.float32)}
    yield Case("crop_resize", between, torch.full((1, 3, 1, 1), 5.0), IOS17)


def cases(rng):
    for family in (resizes, upsamples, samples, crops):
        yield from family(rng)
