"""Operators of torchvision's detectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil.ops.defs._utils import promote_input_dtypes

from stages.coreml.translations.nodes import argument, value


def roi_align(context: Any, node: Any) -> None:
    """torchvision.ops.roi_align: parts of a picture [N, C, H, W], each resized to one size, [parts, C, rows, columns].

    Along each side, a bilinear sample is a product with a matrix that has the two weights in each row; the samples of
    one cell are averaged before.

    Raises ValueError where the number of samples depends on the part's size.

    Source: https://docs.pytorch.org/vision/stable/generated/torchvision.ops.roi_align.html
    """
    names = ("input", "rois", "spatial_scale", "pooled_height", "pooled_width", "sampling_ratio", "aligned")
    given = [argument(context, node, place, name) for place, name in enumerate(names)]
    picture, parts = promote_input_dtypes(given[:2])
    scale, rows, columns, samples, aligned = (value(v) for v in given[2:])
    if samples <= 0:
        raise ValueError(f"roi_align has sampling_ratio {samples}, so the number of samples depends on the values")
    numbers = mb.split(x=parts, num_splits=5, axis=1)
    first, left, top, right, bottom = numbers
    if picture.shape[0] != 1:
        of_part = mb.squeeze(x=mb.cast(x=first, dtype="int32"), axes=[1])
        picture = mb.gather(x=picture, indices=of_part, axis=0)
    height, width = (mb.gather(x=mb.shape(x=picture), indices=axis, axis=0) for axis in (2, 3))
    vertical = _weights(top, bottom, height, rows, samples, scale, aligned)
    horizontal = _weights(left, right, width, columns, samples, scale, aligned)
    sampled = mb.matmul(x=picture, y=mb.expand_dims(x=horizontal, axes=[1]), transpose_y=True)
    context.add(mb.matmul(x=mb.expand_dims(x=vertical, axes=[1]), y=sampled, name=node.name))


def _weights(begin: Any, end: Any, size: Any, cells: int, samples: int, scale: float, aligned: bool) -> Any:
    """How much each line of the picture is in each cell, [parts, cells, size], along one side."""
    number = np.float32
    begin, end = (mb.sub(x=mb.mul(x=v, y=number(scale)), y=number(0.5 * aligned)) for v in (begin, end))
    length = mb.sub(x=end, y=begin)
    length = length if aligned else mb.maximum(x=length, y=number(1))
    places = (np.arange(cells * samples, dtype=number) + number(0.5)) / number(cells * samples)
    at = mb.expand_dims(x=mb.add(x=mb.mul(x=length, y=places[None]), y=begin), axes=[2])
    last = mb.cast(x=mb.sub(x=size, y=1), dtype="fp32")
    inside = mb.logical_and(
        x=mb.greater_equal(x=at, y=number(-1)), y=mb.less_equal(x=at, y=mb.add(x=last, y=number(1)))
    )
    near = mb.minimum(x=mb.maximum(x=at, y=number(0)), y=last)
    lines = mb.cast(x=mb.range_1d(start=0, end=size, step=1), dtype="fp32")
    lines = mb.expand_dims(x=lines, axes=[0, 1])
    weights = mb.relu(x=mb.sub(x=number(1), y=mb.abs(x=mb.sub(x=near, y=lines))))
    weights = mb.mul(x=weights, y=mb.cast(x=inside, dtype="fp32"))
    if samples == 1:
        return weights
    # One sample of each cell after the other: a reshape to [parts, cells, samples, size] has two open sizes.
    of_cell = [
        mb.slice_by_index(x=weights, begin=[0, i, 0], end=[0, 0, 0], stride=[1, samples, 1], end_mask=[True] * 3)
        for i in range(samples)
    ]
    total = of_cell[0]
    for one in of_cell[1:]:
        total = mb.add(x=total, y=one)
    return mb.mul(x=total, y=number(1 / samples))


NAMES: Mapping[str, Callable[[Any, Any], None]] = {"torchvision::roi_align": roi_align}
