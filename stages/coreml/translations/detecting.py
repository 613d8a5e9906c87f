"""Operators of torchvision's detectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil.ops.defs._utils import promote_input_dtypes

from stages.coreml.translations.nodes import argument, value


def roi_align(context: Any, node: Any) -> None:
    """torchvision.ops.roi_align: parts of pictures [N, C, H, W], each resized to one size, [parts, C, rows, columns].

    Each sample is the sum of the four nearest points by their weights, gathered from the points of all pictures; the
    samples of a cell are averaged.

    Raises ValueError where the number of samples depends on the part's size.

    Source: https://docs.pytorch.org/vision/stable/generated/torchvision.ops.roi_align.html
    """
    names = ("input", "rois", "spatial_scale", "pooled_height", "pooled_width", "sampling_ratio", "aligned")
    given = [argument(context, node, place, name) for place, name in enumerate(names)]
    picture, parts = promote_input_dtypes(given[:2])
    scale, rows, columns, samples, aligned = (value(v) for v in given[2:])
    if samples <= 0:
        raise ValueError(f"roi_align has sampling_ratio {samples}, so the number of samples depends on the values")
    of_part, left, top, right, bottom = mb.split(x=parts, num_splits=5, axis=1)
    height, width = (mb.gather(x=mb.shape(x=picture), indices=axis, axis=0) for axis in (2, 3))
    vertical = _nearest(top, bottom, height, 2, rows * samples, scale, aligned)
    horizontal = _nearest(left, right, width, 1, columns * samples, scale, aligned)
    channels = picture.shape[1]
    points = mb.reshape(x=mb.transpose(x=picture, perm=[1, 0, 2, 3]), shape=[channels, -1])
    # The first point of each part's picture.
    start = mb.mul(x=mb.cast(x=mb.expand_dims(x=of_part, axes=[2]), dtype="int32"), y=mb.mul(x=height, y=width))
    total = None
    for line, share in vertical:
        for place, other_share in horizontal:
            at = mb.add(x=mb.add(x=mb.mul(x=line, y=width), y=place), y=start)
            weight = mb.reshape(x=mb.mul(x=share, y=other_share), shape=[1, -1])
            found = mb.mul(x=mb.gather(x=points, indices=mb.reshape(x=at, shape=[-1]), axis=1), y=weight)
            total = found if total is None else mb.add(x=total, y=found)
    sampled = mb.reshape(x=total, shape=[channels, -1, rows * samples, columns * samples])
    sampled = mb.transpose(x=sampled, perm=[1, 0, 2, 3])
    cells = mb.avg_pool(x=sampled, kernel_sizes=[samples] * 2, strides=[samples] * 2, pad_type="valid", name=node.name)
    context.add(cells)


def _nearest(
    begin: Any, end: Any, size: Any, axis: int, count: int, scale: float, aligned: bool
) -> list[tuple[Any, Any]]:
    """The two points nearest to each sample along one side, whole numbers, and their weights.

    Each is [parts, count, 1], or [parts, 1, count] where axis is 1. Samples outside the picture have no weight.
    """
    number = np.float32
    begin, end = (mb.sub(x=mb.mul(x=v, y=number(scale)), y=number(0.5 * aligned)) for v in (begin, end))
    length = mb.sub(x=end, y=begin)
    length = length if aligned else mb.maximum(x=length, y=number(1))
    places = (np.arange(count, dtype=number) + number(0.5)) / number(count)
    at = mb.expand_dims(x=mb.add(x=mb.mul(x=length, y=places[None]), y=begin), axes=[axis])
    last = mb.cast(x=mb.sub(x=size, y=1), dtype="fp32")
    inside = mb.logical_and(
        x=mb.greater_equal(x=at, y=number(-1)), y=mb.less_equal(x=at, y=mb.add(x=last, y=number(1)))
    )
    inside = mb.cast(x=inside, dtype="fp32")
    at = mb.minimum(x=mb.maximum(x=at, y=number(0)), y=last)
    before = mb.floor(x=at)
    after = mb.minimum(x=mb.add(x=before, y=number(1)), y=last)
    share = mb.sub(x=at, y=before)
    shares = mb.sub(x=number(1), y=share), share
    return [
        (mb.cast(x=place, dtype="int32"), mb.mul(x=share, y=inside))
        for place, share in zip((before, after), shares, strict=True)
    ]


NAMES: Mapping[str, Callable[[Any, Any], None]] = {"torchvision::roi_align": roi_align}
