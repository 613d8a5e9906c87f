"""Sampling of images at any position. Source: iOS15, iOS16 and iOS17 image_resizing."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.errors import CheckFailed
from stages.coreml.mil.ops.resizing import grid
from stages.coreml.mil.ops.table import IOS17, Array, mil


def _reflected(places: Array, size: int, edge: bool) -> Array:
    """Positions reflected into 0..size - 1: at the last elements, or at the edges behind them where `edge` is true."""
    if not edge and size == 1:
        return np.zeros_like(places)
    period, shift = (2 * size, 0.5) if edge else (2 * (size - 1), 0.0)
    folded = np.mod(places + shift, period)
    return (np.minimum(folded, period - folded) - shift).clip(0, size - 1)


def _folded(places: Array, size: int, mode: str) -> Array:
    if mode == "border":
        return places.clip(0, size - 1)
    if mode in ("reflection", "symmetric"):
        return _reflected(places, size, mode == "symmetric")
    return places


def _pixels(image: Array, y: Array, x: Array, value: Any) -> Array:
    """The pixels of an image [C, H, W] at integer positions; a fixed value outside."""
    height, width = image.shape[1:]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    rows, columns = (at.clip(0, n - 1).astype(np.int64) for at, n in ((y, height), (x, width)))
    return np.where(inside, image[:, rows, columns], value)


def _sampled(image: Array, y: Array, x: Array, mode: str, value: Any) -> Array:
    """An image at any positions, bilinear or by the nearest pixel; at the edge the outside value is mixed in."""
    if mode == "nearest":
        return _pixels(image, np.rint(y), np.rint(x), value)
    top, left = np.floor(y), np.floor(x)
    down, right = (y - top).astype(image.dtype), (x - left).astype(image.dtype)
    upper = _pixels(image, top, left, value) * (1 - right) + _pixels(image, top, left + 1, value) * right
    lower = _pixels(image, top + 1, left, value) * (1 - right) + _pixels(image, top + 1, left + 1, value) * right
    return upper * (1 - down) + lower * down


def _in_pixels(places: Array, size: int, mode: str, align_corners: bool) -> Array:
    """Coordinates in pixels; 0 is the centre of the first pixel."""
    if mode == "unnormalized":
        return places
    share = (places + 1) / 2 if mode == "normalized_minus_one_to_one" else places
    return share * (size - 1) if align_corners else share * size - 0.5


@mil()
def resample(
    x: Array,
    coordinates: Array,
    sampling_mode: str,
    padding_mode: str,
    padding_value: Any,
    coordinates_mode: str,
    align_corners: bool,
) -> Array:
    """x [B, C, H, W] at coordinates [B, H2, W2, 2], each (x, y)."""
    height, width = x.shape[2:]
    places = coordinates.astype(np.float64)
    rows = _in_pixels(places[..., 1], height, coordinates_mode, bool(align_corners))
    columns = _in_pixels(places[..., 0], width, coordinates_mode, bool(align_corners))
    at = (_folded(rows, height, padding_mode), _folded(columns, width, padding_mode))
    return np.stack([_sampled(i, r, c, sampling_mode, padding_value) for i, r, c in zip(x, *at, strict=True)])


@mil()
def affine(
    x: Array,
    transform_matrix: Array,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    padding_mode: str,
    padding_value: Any,
    coordinates_mode: str,
    align_corners: bool,
) -> Array:
    """x [B, C, H, W] at the positions to which a linear map takes each output pixel, in coordinates from -1 to 1."""
    across, down = np.linspace(-1, 1, int(output_width)), np.linspace(-1, 1, int(output_height))
    if not align_corners:
        across, down = across * (1 - 1 / int(output_width)), down * (1 - 1 / int(output_height))
    base = np.stack([*np.meshgrid(across, down), np.ones((int(output_height), int(output_width)))], -1)
    maps = np.broadcast_to(transform_matrix, (len(x), 6)).reshape(-1, 2, 3)
    coordinates = np.einsum("hwk,bik->bhwi", base, maps)
    return resample(x, coordinates, sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners)


def _corners(box: Array, mode: str) -> tuple[float, float, float, float]:
    """Top, left, bottom and right of a box."""
    first, second, third, fourth = (float(v) for v in box)
    if mode.endswith("WIDTH_FIRST"):
        first, second, third, fourth = second, first, fourth, third
    if mode.startswith("CENTER_SIZE"):
        return first - third / 2, second - fourth / 2, first + third / 2, second + fourth / 2
    return first, second, third, fourth


def _between(first: float, last: float, mode: str, count: int) -> Array:
    """The positions of samples between two positions; backwards, for a mirrored crop, where the last is the smaller.

    Source: coremltools' ops/tests/iOS17/test_image_resizing.py, TestCropResize. Raises CheckFailed for a mirrored crop
    in a mode for which the positions are not documented.
    """
    if last < first and mode not in ("ALIGN_CORNERS", "STRICT_ALIGN_CORNERS"):
        raise CheckFailed(
            f"crop_resize has a box from {first:g} to {last:g}, and the result with {mode} is not documented",
            allowed="corners in their order, or ALIGN_CORNERS",
            command="check on macOS, where Core ML is",
        )
    places: Array = first + np.copysign(1, last - first) * grid(mode, abs(last - first) + 1, count)
    return places


@mil("crop_resize", since=IOS17)
def crop_resize_of_boxes(
    x: Array,
    boxes: Array,
    box_indices: Any = None,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: Any = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: Any = 0.0,
) -> Array:
    """Boxes [N, 4] of the images of x, resized to [N, C, height, width]; a fixed value outside the image."""
    height, width = x.shape[2:]
    unit = np.array([height - 1, width - 1] * 2) if normalized_coordinates else np.ones(4)
    cut = []
    for index, box in zip(range(len(boxes)) if box_indices is None else box_indices, boxes, strict=True):
        top, left, bottom, right = np.array(_corners(box, box_coordinate_mode)) * unit * float(spatial_scale)
        rows = _between(top, bottom, sampling_mode, int(target_height))
        columns = _between(left, right, sampling_mode, int(target_width))
        y, across = np.meshgrid(rows, columns, indexing="ij")
        inside = (y >= 0) & (y <= height - 1) & (across >= 0) & (across <= width - 1)
        cut.append(np.where(inside, _sampled(x[int(index)], y, across, "bilinear", pad_value), pad_value))
    return np.stack(cut) if cut else np.zeros((0, x.shape[1], int(target_height), int(target_width)), x.dtype)


@mil()
def crop_resize(
    x: Array,
    roi: Array,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: Any = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: Any = 0.0,
) -> Array:
    """crop_resize of regions: [N, 1, 4, 1, 1], each of all images, or [N, 1, 5, 1, 1] with the index of its image."""
    regions = roi.reshape(len(roi), -1)
    by_image = regions.shape[1] == 5
    boxes = regions[:, 1:] if by_image else np.repeat(regions, len(x), 0)
    indices = regions[:, 0].astype(np.int64) if by_image else np.tile(np.arange(len(x)), len(regions))
    settings = (target_height, target_width, normalized_coordinates, spatial_scale, box_coordinate_mode)
    cut = crop_resize_of_boxes(x, boxes, indices, *settings, sampling_mode, pad_value)
    return cut.reshape(len(regions), 1 if by_image else len(x), *cut.shape[1:])
