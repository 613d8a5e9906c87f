"""Parts of models in other words while they are captured: the same results, in operators that converters get right.

Each function here stands in for the one that it names, and the checks hold what comes of it to the module as it is.
torch.export cannot branch on how many boxes there are, so parts of torchvision's detectors do without asking for sizes
that depend on data. Attention's rows without a key are said to be zeros. No format has log1p or expm1, and all write
log(1 + x) and exp(x) - 1, which know little of a small x.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

# How many dimensions attention has that every exporter knows: batch, heads, places, features.
ATTENDED = 4


@contextlib.contextmanager
def attention() -> Iterator[None]:
    """For the length of one capture, scaled_dot_product_attention says that rows which are masked all through are 0.

    So does PyTorch. The dynamo exporter's translation has the mean of the values there, OpenVINO's and
    Core ML's have NaN. Heads that share keys have them repeated, since Core ML knows no sharing. Tensors of other
    than four dimensions get four, since the exporters know no others. Wherever a module has the function under its own
    name, it is another one meanwhile.
    """
    from torch.nn import functional

    name, plain = "scaled_dot_product_attention", functional.scaled_dot_product_attention
    keys: dict[int, tuple[Any, Any]] = {}  # layers share a mask: what it says of rows is worked out once

    def without_a_key(mask: Any) -> Any:
        if id(mask) not in keys:
            seen = mask > float("-inf") if mask.dtype.is_floating_point else mask
            keys[id(mask)] = mask, seen.logical_not().all(-1, keepdim=True)
        return keys[id(mask)][1]

    @functools.wraps(plain)
    def attending(query: Any, key: Any, value: Any, attn_mask: Any = None, *args: Any, **kwargs: Any) -> Any:
        if kwargs.pop("enable_gqa", False):
            key, value = (_repeated(shared, query.size(-3) // shared.size(-3)) for shared in (key, value))
        is_known = {t.dim() for t in (query, key, value)} == {ATTENDED}
        attend = plain if is_known else functools.partial(_in_four, plain)
        made = attend(query, key, value, attn_mask, *args, **kwargs)
        return made if attn_mask is None else made.masked_fill(without_a_key(attn_mask), 0.0)

    with contextlib.ExitStack() as replaced:
        modules = [m for m in sys.modules.values() if isinstance(m, types.ModuleType)]
        for module in [m for m in modules if vars(m).get(name) is plain]:
            replaced.enter_context(mock.patch.object(module, name, attending))
        yield


def _in_four(plain: Any, query: Any, key: Any, value: Any, attn_mask: Any, *args: Any, **kwargs: Any) -> Any:
    """Attention over tensors of other than four dimensions: leading ones are put together, and lacking ones put in."""
    import torch

    parts = [query, key, value]
    # Sizes that are the same are not compared: to a trace that would be a branch.
    together = torch.broadcast_tensors(*(t[..., :1, :1] for t in parts))  # type: ignore[no-untyped-call]
    lead = together[0].shape[:-2]
    parts = [t.expand(*lead, *t.shape[-2:]) for t in parts]
    is_wide = attn_mask is not None and attn_mask.dim() > 2
    for _ in range(ATTENDED - 2 - len(lead)):
        parts = [t.unsqueeze(-3) for t in parts]
        attn_mask = attn_mask.unsqueeze(-3) if is_wide else attn_mask
    if len(lead) > ATTENDED - 2:
        parts = [t.flatten(0, -4) for t in parts]
        if is_wide and attn_mask.dim() >= ATTENDED:
            attn_mask = attn_mask.expand(*lead[:-1], *attn_mask.shape[-3:]).flatten(0, -4)
    made = plain(*parts, attn_mask, *args, **kwargs)
    return made.reshape(*lead, *made.shape[-2:])


def _repeated(heads: Any, times: int) -> Any:
    """Each head so many times, one after the other."""
    kept = [-1] * (heads.dim() - 2)
    return heads.unsqueeze(-3).expand(*kept, times, -1, -1).flatten(-4, -3)


@contextlib.contextmanager
def joining() -> Iterator[None]:
    """For the length of one capture, torch.cat is not given what is of one dimension and empty, among others of more.

    torch leaves it out, as caches of transformers begin with it; converters take it for a tensor of another rank.
    """
    import torch

    plain: Any = torch.cat

    @functools.wraps(plain)
    def cat(tensors: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        if max((t.dim() for t in tensors), default=0) > 1:
            tensors = [t for t in tensors if t.dim() != 1 or t.shape[0] != 0]
        return plain(tensors, *args, **kwargs)

    with contextlib.ExitStack() as replaced:
        for name in ("cat", "concat", "concatenate"):
            replaced.enter_context(mock.patch.object(torch, name, cat))
        yield


@contextlib.contextmanager
def near_one() -> Iterator[None]:
    """For the length of one capture, log1p and expm1 are made of what knows small numbers as well as large ones."""
    import torch

    with contextlib.ExitStack() as replaced:
        for name, function in (("log1p", _log1p), ("expm1", _expm1)):
            for place in (torch, torch.special, torch.Tensor):
                replaced.enter_context(mock.patch.object(place, name, function))
        yield


def _log1p(input: Any) -> Any:  # noqa: A002 (as torch has it)
    """2 artanh(x / (2 + x)) as a series where x is small: its next term is less than a rounding."""
    import torch

    x = input if input.is_floating_point() else input.to(torch.get_default_dtype())
    z = x / (x + 2)
    square = z * z
    series = 2 * z * (1 + square * (1 / 3 + square * (1 / 5 + square * (1 / 7 + square / 9))))
    return torch.where(x.abs() < 0.25, series, torch.log(x + 1))


def _expm1(input: Any) -> Any:  # noqa: A002
    """tanh(x / 2) (exp(x) + 1), which is the same."""
    import torch

    x = input if input.is_floating_point() else input.to(torch.get_default_dtype())
    return torch.tanh(x / 2) * (torch.exp(x) + 1)


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
