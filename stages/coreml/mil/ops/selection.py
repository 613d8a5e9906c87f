"""Sorting, selecting, and a classifier's last operation. Source: iOS15 and iOS17 tensor_operation, iOS15 classify."""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.coreml.mil.ops.table import IOS17, Array, mil


def _order(x: Array, axis: int, ascending: bool) -> Array:
    """The indices that sort x, equal elements in their order, NaN as the largest."""
    if ascending:
        return np.argsort(x, axis, stable=True)
    return x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis, stable=True), axis)


@mil(exact=True)
def argsort(x: Array, axis: int = -1, ascending: bool = False) -> Array:
    """The indices that sort x along an axis."""
    return _order(x, int(axis), bool(ascending))


@mil(exact=True)
def topk(
    x: Array,
    k: Any = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> Any:
    """The k largest values along an axis, or smallest, all where k is -1, and their indices. They are always sorted."""
    place = int(axis)
    count = x.shape[place] if int(k) == -1 else int(k)
    indices = np.take(_order(x, place, bool(ascending)), np.arange(count), place)
    values = np.take_along_axis(x, indices, place)
    return (values, indices.astype(output_indices_dtype)) if return_indices else values


@mil(exact=True)
def non_zero(x: Array) -> Array:
    """The indices of the elements that are not 0, one row for each."""
    return np.argwhere(x).astype(np.int32)


def _survivors(boxes: Array, scores: Array, iou: Any, least: Any, count: int, per_class: bool) -> list[int]:
    """The indices of the surviving boxes, best first; boxes are centre and size. A box has the score of its best class.

    A box is out where its intersection with a better one, over their union, is above `iou`.
    """
    best, kinds = scores.max(1), scores.argmax(1)
    order = _order(best, 0, False)
    order = order[best[order] >= least]
    corners = (boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2)
    # One array for each number, sorted: a detector has ten thousands of boxes.
    left, top, right, bottom = (corner[order, axis].copy() for corner in corners for axis in (0, 1))
    area, kind = boxes[order, 2] * boxes[order, 3], kinds[order]
    survivors: list[int] = []
    while len(order) and len(survivors) < count:
        survivors.append(int(order[0]))
        width = np.minimum(right[0], right[1:]) - np.maximum(left[0], left[1:])
        height = np.minimum(bottom[0], bottom[1:]) - np.maximum(top[0], top[1:])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        union = area[0] + area[1:] - shared
        with np.errstate(divide="ignore", invalid="ignore"):
            out = np.where(union > 0, shared / union, 0) > iou
        if per_class:
            out &= kind[1:] == kind[0]
        rest = ~out if out.any() else slice(None)
        order, left, top, right, bottom, area, kind = (
            values[1:][rest] for values in (order, left, top, right, bottom, area, kind)
        )
    return survivors


@mil()
def non_maximum_suppression(
    boxes: Array,
    scores: Array,
    iou_threshold: Any,
    max_boxes: int,
    score_threshold: Any = -np.inf,
    per_class_suppression: bool = False,
) -> tuple[Array, ...]:
    """The boxes [n, B, 4] that overlap with no better one; padded with index -1, and with 0."""
    n, count = len(boxes), int(max_boxes)
    selected = np.zeros((n, count, 4), boxes.dtype)
    scored = np.zeros((n, count, scores.shape[2]), scores.dtype)
    indices = np.full((n, count), -1, np.int32)
    counts = np.zeros(n, np.int32)
    for i in range(n):
        survivors = _survivors(boxes[i], scores[i], iou_threshold, score_threshold, count, bool(per_class_suppression))
        counts[i] = len(survivors)
        filled = slice(len(survivors))
        selected[i, filled], scored[i, filled], indices[i, filled] = (
            boxes[i][survivors],
            scores[i][survivors],
            survivors,
        )
    return selected, scored, indices, counts


@mil("non_maximum_suppression", since=IOS17)
def non_maximum_suppression_of_columns(
    boxes: Array, scores: Array, iou_threshold: Any, max_boxes: int, per_class_suppression: bool = False
) -> tuple[Array, ...]:
    """non_maximum_suppression of boxes [n, 4, B], without a threshold for scores and without the counts."""
    selected, scored, indices, _ = non_maximum_suppression(
        boxes.swapaxes(1, 2),
        scores.swapaxes(1, 2),
        iou_threshold,
        max_boxes,
        per_class_suppression=per_class_suppression,
    )
    return selected.swapaxes(1, 2), scored.swapaxes(1, 2), indices


@mil()
def classify(probabilities: Array, classes: list[Any]) -> tuple[Any, dict[Any, Any]]:
    """The label of the largest probability, and the probability of each label; for equal labels, of the last one."""
    values = probabilities.reshape(-1)
    return classes[int(values.argmax())], dict(zip(classes, values, strict=True))
