"""Shapes, slices, gathers, scatters, reductions, sorting: what moves values or selects them."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812
from torchvision.ops import box_convert, nms

from mil_cases.case import IOS15, IOS16, IOS17, Case, i32, normal, t

REDUCE = {
    "reduce_sum": torch.sum,
    "reduce_mean": torch.mean,
    "reduce_max": torch.amax,
    "reduce_min": torch.amin,
    "reduce_log_sum_exp": torch.logsumexp,
    "reduce_l1_norm": lambda x, dim, keepdim: x.abs().sum(dim, keepdim=keepdim),
    "reduce_l2_norm": lambda x, dim, keepdim: torch.linalg.vector_norm(x, dim=dim, keepdim=keepdim),
    "reduce_sum_square": lambda x, dim, keepdim: x.pow(2).sum(dim, keepdim=keepdim),
    "reduce_log_sum": lambda x, dim, keepdim: x.sum(dim, keepdim=keepdim).log(),
}


def reductions(rng):
    for name, function in REDUCE.items():
        for axes in ((0,), (-1,), (1, -1), (0, 1, 2)):
            for keep in (False, True):
                x = np.abs(normal(rng, 3, 4, 5))
                inputs = {"x": x, "axes": i32(*axes), "keep_dims": np.bool_(keep)}
                yield Case(name, inputs, function(t(x), dim=axes, keepdim=keep), close=5e-6)
        yield Case(name, {"x": x}, function(t(x), dim=(0, 1, 2), keepdim=False), close=5e-6)
        x = np.where(x == x[0, 0, 0], np.float32(np.nan), x)
        yield Case(name, {"x": x, "axes": i32(0)}, function(t(x), dim=(0,), keepdim=False), close=5e-6)
    empty = np.array([[-np.inf, -np.inf], [0, -np.inf], [np.inf, 1]], np.float32)
    yield Case("reduce_log_sum_exp", {"x": empty, "axes": i32(1)}, torch.logsumexp(t(empty), 1))
    for axis in (0, 1, -1):
        x = normal(rng, 3, 4, 5)
        yield Case("reduce_prod", {"x": x, "axes": i32(axis)}, t(x).prod(axis), close=5e-6)
        for keep in (False, True):
            inputs = {"x": x, "axis": np.int32(axis), "keep_dims": np.bool_(keep)}
            yield Case("reduce_argmax", inputs, t(x).argmax(axis, keepdim=keep).int())
            yield Case(
                "reduce_argmin",
                {**inputs, "output_dtype": "uint16"},
                t(x).argmin(axis, keepdim=keep).numpy().astype("uint16"),
            )
        for values in (x, rng.integers(-9, 9, (3, 4, 5)).astype(np.int32)):
            inputs, v = {"x": values, "axis": np.int32(axis)}, t(values)
            dtype = v.dtype
            yield Case("cumsum", inputs, v.cumsum(axis, dtype=dtype), close=5e-6)
            back = v.flip(axis).cumsum(axis, dtype=dtype).flip(axis)
            yield Case("cumsum", {**inputs, "reverse": np.True_}, back, close=5e-6)
            yield Case("cumsum", {**inputs, "exclusive": np.True_}, v.cumsum(axis, dtype=dtype) - v, close=5e-6)


def shapes(rng):
    x = normal(rng, 2, 3, 4)
    yield Case("shape", {"x": x}, torch.tensor([2, 3, 4]).int())
    for opset, shape in (
        (IOS15, (6, -1)),
        (IOS15, (0, -1, 2)),
        (IOS17, (24,)),
        (IOS17, (1, 0, 0, 0)),
        (IOS17, (6, 0)),
    ):
        result = {(0, -1, 2): (2, 6, 2), (1, 0, 0, 0): (1, 2, 3, 4), (6, 0): (6, 4)}.get(shape, shape)
        yield Case("reshape", {"x": x, "shape": i32(*shape)}, t(x).reshape(result), opset)
    yield Case("reshape", {"x": x[0], "shape": i32(1, 0, -1, 0)}, t(x[0]).reshape(1, 1, 3, 4), IOS17)
    yield Case("reshape", {"x": x[:0], "shape": i32(0, 12)}, torch.zeros(0, 12), IOS17)
    refs = {"ref_tensors": [normal(rng, 2, 9), normal(rng, 7, 3, 4)], "begins": [np.int32(0), np.int32(1)]}
    inputs = {"x": normal(rng, 24), **refs, "ends": [np.int32(1), np.int32(0)], "end_masks": [np.False_, np.True_]}
    yield Case("reshape_like", inputs, t(inputs["x"]).reshape(2, 3, 4), IOS16)
    yield Case("expand_dims", {"x": x, "axes": i32(0, -1)}, t(x)[None, ..., None])
    yield Case("expand_dims", {"x": x, "axes": i32(1, 2)}, t(x)[:, None, None])
    yield Case("squeeze", {"x": x[:1, :, None]}, t(x[0]))
    yield Case("squeeze", {"x": x[:1, :, None], "axes": i32(-2, 1)}, t(x[:1]))
    yield Case("transpose", {"x": x, "perm": i32(2, 0, -2)}, t(x).permute(2, 0, 1))
    yield Case("flatten2d", {"x": x, "axis": np.int32(-1)}, t(x).reshape(6, 4))
    yield Case("flatten2d", {"x": x}, t(x).flatten(1))
    x = normal(rng, 2, 12, 4, 6)
    yield Case("pixel_shuffle", {"x": x, "upscale_factor": np.int32(2)}, F.pixel_shuffle(t(x), 2))
    yield Case("pixel_unshuffle", {"x": x, "downscale_factor": np.int32(2)}, F.pixel_unshuffle(t(x), 2))
    turned = t(x).reshape(2, 4, 3, 4, 6).transpose(1, 2).reshape(2, 12, 4, 6)
    yield Case("depth_to_space", {"x": x, "block_size": np.int32(2)}, F.pixel_shuffle(turned, 2))
    deep = F.pixel_unshuffle(t(x), 2).reshape(2, 12, 4, 2, 3).transpose(1, 2).reshape(2, 48, 2, 3)
    yield Case("space_to_depth", {"x": x, "block_size": np.int32(2)}, deep)
    blocks = {"block_shape": i32(2, 3)}
    padded = F.pad(t(x), (1, 2, 0, 2))
    unfolded = F.unfold(padded, (2, 3), stride=(2, 3)).reshape(2, 12, 2, 3, 3, 3)
    expected = unfolded.permute(2, 3, 0, 1, 4, 5).reshape(12, 12, 3, 3)
    yield Case("space_to_batch", {"x": x, **blocks, "paddings": np.array([[0, 2], [1, 2]], np.int32)}, expected)
    inputs = {"x": expected.numpy(), **blocks, "crops": np.array([[0, 2], [1, 2]], np.int32)}
    yield Case("batch_to_space", inputs, t(x))


def joins(rng):
    for axis in (0, 1, -1):
        values = [normal(rng, 2, 3, 4) for _ in range(3)]
        yield Case("concat", {"values": values, "axis": np.int32(axis)}, torch.cat([t(v) for v in values], axis))
        yield Case("stack", {"values": values, "axis": np.int32(axis)}, torch.stack([t(v) for v in values], axis))
        place = axis % 3
        mixed = torch.stack([t(v) for v in values], place + 1).flatten(place, place + 1)
        yield Case("concat", {"values": values, "axis": np.int32(axis), "interleave": np.True_}, mixed)
    yield Case("concat", {"values": values[:1], "axis": np.int32(0)}, t(values[0]))
    sizes = [np.array(3, np.int32), np.int32(-1), np.array(2, np.int32)]
    yield Case("concat", {"values": sizes, "axis": np.int32(0)}, torch.tensor([3, -1, 2]).int())
    x = normal(rng, 6, 5)
    sizes = {"split_sizes": i32(1, 0, 4)}
    yield Case("split", {"x": x, "axis": np.int32(-1), **sizes}, t(x).split([1, 0, 4], 1))
    yield Case("split", {"x": x, "axis": np.int32(0), "num_splits": np.int32(3)}, t(x).chunk(3))
    x = normal(rng, 2, 3, 4, 5)
    for mode in ("constant", "reflect", "replicate"):
        expected = F.pad(t(x), (1, 2, 0, 3), mode, **({"value": 7.5} if mode == "constant" else {}))
        inputs = {"x": x, "pad": i32(0, 3, 1, 2), "mode": mode, "constant_val": np.float32(7.5)}
        yield Case("pad", inputs, expected)
    yield Case("pad", {"x": x, "pad": i32(0, 0, 1, 1, 0, 0, 0, 2)}, F.pad(t(x), (0, 2, 0, 0, 1, 1)))
    yield Case("tile", {"x": x, "reps": i32(1, 2, 1, 3)}, t(x).repeat(1, 2, 1, 3))
    yield Case("reverse", {"x": x, "axes": i32(1, -1)}, t(x).flip(1, 3))
    yield Case("reverse", {"x": x}, t(x).flip(0, 1, 2, 3))
    inputs = {"x": x, "lengths": i32(4, 2), "seq_axis": np.int32(3), "batch_axis": np.int32(0)}
    expected = t(x)
    expected[0, ..., :4], expected[1, ..., :2] = expected[0, ..., :4].flip(-1), expected[1, ..., :2].flip(-1)
    yield Case("reverse_sequence", inputs, expected)
    for axis, size, stride in ((1, 2, 1), (-1, 3, 2), (-1, 2, 1)):
        inputs = {"x": x, "axis": np.int32(axis), "size": np.int32(size), "stride": np.int32(stride)}
        windows = t(x).unfold(axis, size, stride)
        yield Case("sliding_windows", inputs, windows.movedim(-1, axis % 4 + 1))


def slices(rng):
    x = normal(rng, 4, 5, 6)
    v = t(x)
    flags = {
        n: np.array(m, bool)
        for n, m in (("begin_mask", (1, 0, 0)), ("end_mask", (0, 1, 0)), ("squeeze_mask", (0, 0, 1)))
    }
    cases = {
        ((1, 0, 2), (3, -1, 6), ()): v[1:3, 0:-1, 2:6],
        ((9, 1, -2), (3, 9, 0), tuple(flags)): v[:3, 1:, -2],
        ((0, 3, 5), (0, 9, 6), ()): v[0:0, 3:9, 5:6],
    }
    for (begin, end, names), expected in cases.items():
        inputs = {"begin": i32(*begin), "end": i32(*end), **{n: flags[n] for n in names}}
        yield Case("slice_by_index", {"x": x, **inputs}, expected)
        if expected.numel():
            update = normal(rng, *expected.shape)
            changed = v.clone()
            where = {"begin_mask": (slice(None, 3), slice(1, None), -2)}.get(names[0] if names else "", ...)
            changed[where if names else (slice(1, 3), slice(0, -1), slice(2, 6))] = t(update)
            yield Case("slice_update", {"x": x, "update": update, **inputs}, changed)
    back = {"begin": i32(3, 4, 0), "end": i32(0, 0, 6), "stride": i32(-2, -1, 3), "end_mask": np.array([0, 1, 0], bool)}
    yield Case("slice_by_index", {"x": x, **back}, v.flip(0, 1)[0:3:2, :, ::3])
    yield Case("slice_by_size", {"x": x, "begin": i32(1, -3, 0), "size": i32(2, -1, 4)}, v[1:3, -3:, :4])
    yield Case("slice_by_size", {"x": x, "begin": i32(-3, 0, 0), "size": i32(3, 5, 6)}, v[1:])
    yield Case("crop", {"x": x, "crop_height": i32(1, 2), "crop_width": i32(0, 3)}, v[:, 1:-2, :3])
    for lower in (-1, 0, 2):
        for upper in (-1, 0, 1):
            masked = v.tril(upper) if upper >= 0 else v
            masked = masked.triu(-lower) if lower >= 0 else masked
            yield Case("band_part", {"x": x, "lower": np.int32(lower), "upper": np.int32(upper)}, masked)


def makers(rng):
    yield Case("fill", {"shape": i32(2, 0, 3), "value": np.float32(2)}, torch.full((2, 0, 3), 2.0))
    yield Case("fill", {"shape": i32(2, 3), "value": np.int32(7)}, torch.full((2, 3), 7, dtype=torch.int32))
    yield Case("fill_like", {"ref_tensor": normal(rng, 2, 3), "value": np.True_}, torch.full((2, 3), True))
    for start, end, step in ((0, 5, 1), (5, -2, -2), (3, 3, 1)):
        inputs = {"start": np.int32(start), "end": np.int32(end), "step": np.int32(step)}
        yield Case("range_1d", inputs, torch.arange(start, end, step, dtype=torch.int32))
    real = {"start": np.float32(0.5), "end": np.float32(3), "step": np.float32(0.5)}
    yield Case("range_1d", real, torch.arange(0.5, 3, 0.5))
    indices = rng.integers(0, 4, (2, 3)).astype(np.int32)
    hot = F.one_hot(t(indices).long(), 5)
    inputs = {"indices": indices, "one_hot_vector_size": np.int32(5)}
    yield Case("one_hot", inputs, hot)
    lively = {"on_value": np.float32(2), "off_value": np.float32(-1)}
    yield Case("one_hot", {**inputs, "axis": np.int32(0), **lively}, (hot.movedim(-1, 0) * 3 - 1).float())


def gathers(rng):
    x = normal(rng, 4, 5, 6)
    v = t(x)
    for opset, low in ((IOS15, -4), (IOS17, 0)):
        for axis in (0, 1, -1):
            at = rng.integers(low, 4, (2, 3)).astype(np.int32)
            size = x.shape[axis]
            gathered = v.index_select(axis, (t(at).long() % size).flatten()).unflatten(axis, (2, 3))
            yield Case("gather", {"x": x, "indices": at, "axis": np.int32(axis)}, gathered, opset)
            wide = rng.integers(low, 4, (4, 5, 6)).astype(np.int32)
            along = torch.gather(v, axis, t(wide).long() % size)
            yield Case("gather_along_axis", {"x": x, "indices": wide, "axis": np.int32(axis)}, along, opset)
        yield Case("gather", {"x": x, "indices": np.int32(2), "axis": np.int32(1)}, v[:, 2], opset)
        pairs = np.stack([rng.integers(low, 4, 7), rng.integers(low, 5, 7)], -1).astype(np.int32)
        rows, columns = t(pairs).long().unbind(-1)
        yield Case("gather_nd", {"x": x, "indices": pairs}, v[rows, columns], opset)
    at = rng.integers(0, 5, (4, 2)).astype(np.int32)
    inputs = {"x": x, "indices": at, "axis": np.int32(1), "batch_dims": np.int32(1)}
    yield Case("gather", inputs, torch.stack([a[i] for a, i in zip(v, t(at).long(), strict=True)]), IOS16)
    expected = torch.stack([a[i] for a, i in zip(v, t(at).long(), strict=True)])
    yield Case("gather_nd", {"x": x, "indices": at[..., None], "batch_dims": np.int32(1)}, expected, IOS16)


def scatters(rng):
    reduced = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
    for opset, low in ((IOS15, -4), (IOS17, 0)):
        for axis in (0, -1):
            data = normal(rng, 4, 5, 6)
            at = rng.integers(low, 4, data.shape).astype(np.int32)
            updates = normal(rng, *data.shape)
            inputs = {"data": data, "indices": at, "updates": updates, "axis": np.int32(axis)}
            places = t(at).long() % data.shape[axis]
            for mode, reduce in reduced.items():
                expected = t(data).scatter_reduce(axis, places, t(updates), reduce)
                yield Case("scatter_along_axis", {**inputs, "mode": mode}, expected, opset, close=1e-5)
            less = t(data).scatter_reduce(axis, places, -t(updates), "sum")
            yield Case("scatter_along_axis", {**inputs, "mode": "sub"}, less, opset, close=1e-5)
            parted = t(data).scatter_reduce(axis, places, 1 / t(updates), "prod")
            yield Case("scatter_along_axis", {**inputs, "mode": "div"}, parted, opset, close=1e-4)
            few = rng.permutation(4)[:3].astype(np.int32)
            part = normal(rng, *(3 if a == axis % 3 else n for a, n in enumerate(data.shape)))
            inputs = {"data": data, "indices": few, "updates": part, "axis": np.int32(axis)}
            index = t(few).long()
            yield Case("scatter", {**inputs, "mode": "update"}, t(data).index_copy(axis, index, t(part)), opset)
            yield Case("scatter", inputs, t(data).index_add(axis, index, t(part)), opset)
        pairs = np.stack([rng.integers(low, 4, 9), rng.integers(low, 5, 9)], -1).astype(np.int32)
        updates = normal(rng, 9, 6)
        places = tuple(t(pairs).long().T)
        added = t(data).index_put(places, t(updates), accumulate=True)
        yield Case("scatter_nd", {"data": data, "indices": pairs, "updates": updates}, added, opset, close=1e-5)
        single = np.array([[0, 1], [3, 2]], np.int32)
        put = t(data).index_put(tuple(t(single).long().T), t(updates[:2]))
        inputs = {"data": data, "indices": single, "updates": updates[:2], "mode": "update"}
        yield Case("scatter_nd", inputs, put, opset)


def selections(rng):
    for x in (normal(rng, 3, 7), rng.integers(-2, 3, (3, 7)).astype(np.int32), np.array([[1, np.nan, 3]], np.float32)):
        for ascending in (False, True):
            order = {"ascending": np.bool_(ascending)}
            for axis in (0, -1):
                expected = t(x).argsort(dim=axis, descending=not ascending, stable=True)
                yield Case("argsort", {"x": x, "axis": np.int32(axis), **order}, expected)
            values, indices = torch.sort(t(x), dim=-1, descending=not ascending, stable=True)
            yield Case("topk", {"x": x, "k": np.int32(2), **order}, (values[:, :2], indices[:, :2].int()))
            yield Case("topk", {"x": x, "k": np.int32(-1), **order}, (values, indices.int()))
    x = normal(rng, 3, 7)
    top = t(x).topk(3, 0)
    yield Case("topk", {"x": x, "k": np.int32(3), "axis": np.int32(0)}, (top.values, top.indices.int()))
    yield Case("topk", {"x": x, "k": np.int32(3), "axis": np.int32(0), "return_indices": np.False_}, top.values)
    sparse = rng.integers(0, 2, (3, 4, 2)).astype(np.int32)
    yield Case("non_zero", {"x": sparse}, t(sparse).nonzero().int())
    yield Case("non_zero", {"x": np.zeros((2, 2), bool)}, torch.zeros(0, 2, dtype=torch.int32))
    chances = np.array([[0.1, 0.7, 0.2]], np.float32)
    yield Case(
        "classify",
        {"probabilities": chances, "classes": ["a", "b", "c"]},
        ("b", dict(zip("abc", chances[0], strict=True))),
    )


def filled(indices):
    """Up to 40, with -1."""
    return F.pad(indices, (0, 40 - len(indices)), value=-1)[None]


def suppression(rng):
    corners = np.sort(rng.random((40, 2, 2)).astype(np.float32), 1).reshape(40, 4)
    scores = rng.random((40, 1)).astype(np.float32)
    survivors = nms(t(corners), t(scores[:, 0]), 0.4).int()
    boxes = box_convert(t(corners), "xyxy", "cxcywh")
    count = len(survivors)
    expected = (
        F.pad(boxes[survivors.long()], (0, 0, 0, 40 - count))[None],
        F.pad(t(scores)[survivors.long()], (0, 0, 0, 40 - count))[None],
        filled(survivors),
    )
    shared = {"iou_threshold": np.float32(0.4), "max_boxes": np.int32(40)}
    inputs = {"boxes": boxes.numpy()[None], "scores": scores[None], **shared, "score_threshold": np.float32(-1)}
    name = "non_maximum_suppression"
    yield Case(name, inputs, (*expected, torch.tensor([count]).int()), IOS15)
    columns = {"boxes": boxes.numpy().T[None], "scores": scores.T[None], **shared}
    yield Case(name, columns, (expected[0].mT, expected[1].mT, expected[2]), IOS17)
    sure = survivors[t(scores)[survivors.long(), 0] >= 0.5]
    best = {"boxes": inputs["boxes"], "scores": inputs["scores"], "iou_threshold": np.float32(0.4)}
    best_boxes = (boxes[sure.long()][None], t(scores)[sure.long()][None], sure[None], torch.tensor([len(sure)]).int())
    yield Case(name, {**best, "score_threshold": np.float32(0.5), "max_boxes": np.int32(len(sure))}, best_boxes, IOS15)
    loose = {**best, "score_threshold": np.float32(0.5), "max_boxes": np.int32(40)}
    yield Case(
        name,
        loose,
        (*(F.pad(v, (0, 0, 0, 40 - len(sure))) for v in best_boxes[:2]), filled(sure), best_boxes[3]),
        IOS15,
    )
    few = {**best, "score_threshold": np.float32(-1), "max_boxes": np.int32(3)}
    yield Case(name, few, (*(v[:, :3] for v in expected), torch.tensor([3]).int()), IOS15)


def lists(rng):
    a, b = normal(rng, 2, 3), normal(rng, 2, 3)
    both = [a, b]
    empty = {"init_length": np.int32(2), "elem_shape": i32(2, 3), "dtype": "fp32"}
    yield Case("make_list", empty, (torch.zeros(2, 3), torch.zeros(2, 3)))
    yield Case("list_length", {"ls": both}, torch.tensor(2).int())
    yield Case("list_read", {"ls": both, "index": np.int32(1)}, t(b))
    yield Case("list_write", {"ls": [a], "index": np.int32(1), "value": b}, (t(a), t(b)))
    # Beyond the end, what is between is zeros: coremltools' ops/tests/iOS14/test_control_flow.py.
    grown = (t(a), torch.zeros(2, 3), t(b))
    yield Case("list_write", {"ls": [a], "index": np.int32(2), "value": b}, grown)
    yield Case("list_gather", {"ls": both, "indices": i32(1, 0, 1)}, torch.stack([t(b), t(a), t(b)]))
    value = np.stack([b, a])
    yield Case("list_scatter", {"ls": both, "indices": i32(0, 1), "value": value}, (t(b), t(a)))


def cases(rng):
    for family in (reductions, shapes, joins, slices, makers, gathers, scatters, selections, suppression, lists):
        yield from family(rng)
