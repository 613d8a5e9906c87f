"""Convolutions, pooling, normalizations and recurrent layers."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from mil_cases.case import IOS15, IOS18, Case, i32, normal, t

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def around(pads):
    """MIL's before and after each dimension in torch's order, the last dimension first."""
    return [n for i in range(len(pads) - 2, -1, -2) for n in pads[i : i + 2]]


def same(sizes, reach, strides, lower):
    """What `same` adds: enough for ceil(size / stride) windows, the odd one last, or first where lower."""
    pads = []
    for n, k, s in zip(sizes, reach, strides, strict=True):
        total = max(0, (-(-n // s) - 1) * s + k - n)
        pads += [-(-total // 2), total // 2] if lower else [total // 2, -(-total // 2)]
    return pads


def by_the_whole_kernel(x, kernel, strides, pads):
    """The means of ceil mode, zeros beyond the edge counted."""
    rank = len(kernel)
    counts = MAX[rank](x, kernel, strides, pads, ceil_mode=True).shape[2:]
    spans = zip(x.shape[2:], counts, kernel, strides, pads, strict=True)
    sides = [(p, max(p, (count - 1) * s + k - n - p)) for n, count, k, s, p in spans]
    return AVERAGE[rank](F.pad(x, around([n for side in sides for n in side])), kernel, strides)


def convolutions(rng):
    for _ in range(16):
        rank, groups = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        x = normal(rng, 2, 2 * groups, *rng.integers(5, 9, rank))
        weight, bias = normal(rng, 3 * groups, 2, *rng.integers(1, 4, rank)), normal(rng, 3 * groups)
        strides, dilations = rng.integers(1, 4, rank).tolist(), rng.integers(1, 3, rank).tolist()
        reach = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
        kinds = {
            "valid": [0] * 2 * rank,
            "custom": rng.integers(0, 3, 2 * rank).tolist(),
            "same": same(x.shape[2:], reach, strides, lower=False),
            "same_lower": same(x.shape[2:], reach, strides, lower=True),
        }
        for kind, pads in kinds.items():
            expected = CONV[rank](F.pad(t(x), around(pads)), t(weight), t(bias), strides, 0, dilations, groups)
            inputs = {"x": x, "weight": weight, "bias": bias, "strides": i32(*strides), "dilations": i32(*dilations)}
            custom = {"pad": i32(*pads)} if kind == "custom" else {}
            inputs |= {"pad_type": kind, "groups": np.int32(groups), **custom}
            yield Case("conv", inputs, expected, close=1e-5)
    x, weight = normal(rng, 1, 3, 8, 8), normal(rng, 4, 3, 3, 3)
    inputs = {"x": x, "weight": weight, "pad_type": "same", "dilations": i32(2, 2)}
    yield Case("conv", inputs, F.conv2d(t(x), t(weight), padding="same", dilation=2), close=1e-5)


def transposed(rng):
    for _ in range(16):
        rank, groups = int(rng.integers(1, 4)), int(rng.integers(1, 3))
        x = normal(rng, 2, 2 * groups, *rng.integers(2, 6, rank))
        weight, bias = normal(rng, 2 * groups, 3, *rng.integers(2, 5, rank)), normal(rng, 3 * groups)
        strides, dilations = rng.integers(1, 4, rank).tolist(), rng.integers(1, 3, rank).tolist()
        pads = [int(rng.integers(0, 2)) for _ in range(rank)]
        extra = [int(rng.integers(0, max(s, d))) for s, d in zip(strides, dilations, strict=True)]
        expected = TRANSPOSE[rank](t(x), t(weight), t(bias), strides, pads, extra, groups, dilations)
        inputs = {"x": x, "weight": weight, "bias": bias, "strides": i32(*strides), "dilations": i32(*dilations)}
        inputs |= {"pad_type": "custom", "pad": i32(*(p for p in pads for _ in "12")), "groups": np.int32(groups)}
        yield Case("conv_transpose", {**inputs, "output_shape": i32(*expected.shape)}, expected, close=1e-5)
        if not any(extra):
            yield Case("conv_transpose", inputs, expected, close=1e-5)
        whole = TRANSPOSE[rank](t(x), t(weight), t(bias), strides, 0, 0, groups, dilations)
        plain = {n: v for n, v in inputs.items() if n not in ("pad", "pad_type")}
        yield Case("conv_transpose", plain, whole, close=1e-5)
    x, weight = normal(rng, 1, 2, 5, 5), normal(rng, 2, 3, 4, 4)
    inputs = {"x": x, "weight": weight, "pad_type": "same", "strides": i32(2, 2)}
    yield Case("conv_transpose", inputs, F.conv_transpose2d(t(x), t(weight), stride=2, padding=1), close=1e-5)


def pools(rng):
    for _ in range(24):
        rank = int(rng.integers(1, 4))
        x = normal(rng, 2, 3, *rng.integers(5, 10, rank))
        kernel, strides = rng.integers(2, 5, rank).tolist(), rng.integers(1, 4, rank).tolist()
        pads = [int(rng.integers(0, k // 2 + 1)) for k in kernel]
        ceil, excluded = bool(rng.integers(2)), bool(rng.integers(2))
        # Where nothing is padded, MIL keeps a last window that lies outside, and torch does not.
        spans = zip(x.shape[2:], kernel, strides, pads, strict=True)
        ceil = ceil and all(p or -(-(n - k) // s) * s < n for n, k, s, p in spans)
        inputs = {"x": x, "kernel_sizes": i32(*kernel), "strides": i32(*strides), "pad_type": "custom"}
        inputs |= {"pad": i32(*(p for p in pads for _ in "12")), "ceil_mode": np.bool_(ceil)}
        yield Case("max_pool", inputs, MAX[rank](t(x), kernel, strides, pads, ceil_mode=ceil))
        if ceil and not excluded:  # otherwise than torch: https://github.com/apple/coremltools/issues/2772
            expected = by_the_whole_kernel(t(x), kernel, strides, pads)
        else:
            expected = AVERAGE[rank](t(x), kernel, strides, pads, ceil_mode=ceil, count_include_pad=not excluded)
        yield Case("avg_pool", {**inputs, "exclude_padding_from_average": np.bool_(excluded)}, expected, close=1e-5)
        uneven = same(x.shape[2:], kernel, strides, lower=False)
        shared = {"x": x, "kernel_sizes": i32(*kernel), "strides": i32(*strides), "pad_type": "same"}
        yield Case("max_pool", shared, MAX[rank](F.pad(t(x), around(uneven), value=-torch.inf), kernel, strides))
        counted = AVERAGE[rank](F.pad(torch.ones_like(t(x)), around(uneven)), kernel, strides)
        summed = AVERAGE[rank](F.pad(t(x), around(uneven)), kernel, strides)
        yield Case("avg_pool", shared, summed, close=1e-5)
        yield Case("avg_pool", {**shared, "exclude_padding_from_average": np.True_}, summed / counted, close=1e-5)
    x = normal(rng, 1, 2, 6, 6)
    inputs = {"x": x, "kernel_sizes": i32(2, 3), "strides": i32(2, 1), "pad_type": "valid"}
    yield Case("l2_pool", inputs, F.lp_pool2d(t(x), 2, (2, 3), (2, 1)), close=1e-5)
    x = np.where(x == x[0, 0, 2, 2], np.float32(np.nan), x)
    yield Case("max_pool", {**inputs, "x": x}, F.max_pool2d(t(x), (2, 3), (2, 1)))


def normalizations(rng):
    gamma, beta, mean = (normal(rng, 4) for _ in range(3))
    variance = np.abs(normal(rng, 4)) + np.float32(0.1)
    scaled = {"gamma": gamma, "beta": beta, "epsilon": np.float32(1e-3)}
    for shape in ((2, 4, 5), (2, 4, 5, 3), (1, 4, 2, 3, 3)):
        x = normal(rng, *shape)
        expected = F.batch_norm(t(x), t(mean), t(variance), t(gamma), t(beta), eps=1e-3)
        yield Case("batch_norm", {"x": x, "mean": mean, "variance": variance, **scaled}, expected, close=1e-5)
        plain = F.batch_norm(t(x), t(mean), t(variance), eps=1e-5)
        yield Case("batch_norm", {"x": x, "mean": mean, "variance": variance}, plain, close=1e-5)
        expected = F.instance_norm(t(x), weight=t(gamma), bias=t(beta), eps=1e-3)
        yield Case("instance_norm", {"x": x, **scaled}, expected, close=1e-5)
        yield Case("instance_norm", {"x": x}, F.instance_norm(t(x)), close=1e-5)
        for size in (1, 3, 4) if x.ndim > 3 else ():
            expected = F.local_response_norm(t(x), size, alpha=0.01, beta=0.6, k=1.5)
            inputs = {"x": x, "size": np.int32(size), "alpha": np.float32(0.01), "beta": np.float32(0.6)}
            yield Case("local_response_norm", {**inputs, "k": np.float32(1.5)}, expected, close=1e-5)
    of_three = np.float32([[[1, -7], [5, -6], [-3, -5]]])  # ops/tests/iOS14/test_normalization.py
    expected = np.float32([[[0.99997497, -6.99143696], [4.99687672, -5.99460602], [-2.99932504, -4.99687672]]])
    yield Case("local_response_norm", {"x": of_three, "size": np.int32(3)}, expected)
    for axes in ((-1,), (1, 2), (0, 1, 2)):
        x = normal(rng, 3, 4, 5)
        sizes = [x.shape[a] for a in sorted(a % 3 for a in axes)]
        scale, shift = normal(rng, *sizes), normal(rng, *sizes)
        expected = F.layer_norm(t(x), sizes, t(scale), t(shift), 1e-3)
        inputs = {"x": x, "axes": i32(*axes), "gamma": scale, "beta": shift, "epsilon": np.float32(1e-3)}
        yield Case("layer_norm", inputs, expected, close=1e-5)
    yield Case("layer_norm", {"x": x}, F.layer_norm(t(x), x.shape), close=1e-5)
    x = normal(rng, 2, 3, 4, 5)
    expected = t(x) / torch.sqrt(t(x).pow(2).sum((1, 2, 3), keepdim=True) + 1e-6)
    yield Case("l2_norm", {"x": x}, expected)


def _halves(layer, gates, suffix=""):
    """torch's weights, its gates in MIL's order."""
    tensors = {n: getattr(layer, f"{n}_l0{suffix}").detach() for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    split = {n: torch.cat([v.chunk(len(gates))[i] for i in gates]).numpy() for n, v in tensors.items()}
    return split["weight_ih"], split["weight_hh"], split["bias_ih"] + split["bias_hh"]


def _gru(x, h, weight_ih, weight_hh, bias):
    """MIL's, in which the reset gate is before the product: coremltools' ops/tests/iOS14/test_recurrent.py."""
    (r_ih, o_ih, z_ih), (r_b, o_b, z_b) = weight_ih.chunk(3), bias.chunk(3)
    r_hh, o_hh, z_hh = weight_hh.chunk(3)
    outputs = []
    for at in x:
        r, z = (F.linear(at, i, b) + F.linear(h, w) for i, b, w in ((r_ih, r_b, r_hh), (z_ih, z_b, z_hh)))
        o = torch.tanh(F.linear(at, o_ih, o_b) + F.linear(h * r.sigmoid(), o_hh))
        h = torch.lerp(o, h, z.sigmoid())
        outputs.append(h)
    return torch.stack(outputs)


def _clipped(x, h, c, weight_ih, weight_hh, bias, clip):
    """An LSTM whose memory is held to -clip..clip before anything uses it: the same file."""
    outputs = []
    for at in x:
        i, f, o, z = (F.linear(at, weight_ih, bias) + F.linear(h, weight_hh)).chunk(4, -1)
        c = F.hardtanh(f.sigmoid() * c + i.sigmoid() * torch.tanh(z), -clip, clip)
        h = o.sigmoid() * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs), h, c


@torch.no_grad()
def recurrent(rng):
    """In reverse, results come in the order in which they are computed: ops/tests/iOS14/test_recurrent.py."""
    torch.manual_seed(0)
    x = normal(rng, 6, 2, 4)
    h, c = normal(rng, 2, 5), normal(rng, 2, 5)
    for reverse in (False, True):
        way = {"direction": "reverse" if reverse else "forward", "output_sequence": np.True_}
        turned = t(x).flip(0) if reverse else t(x)

        for activation in ("tanh", "relu"):
            layer = nn.RNN(4, 5, nonlinearity=activation)
            outputs, last = layer(turned, t(h)[None])
            weights = dict(zip(("weight_ih", "weight_hh", "bias"), _halves(layer, [0]), strict=True))
            inputs = {"x": x, "initial_h": h, **weights, **way, "activation": activation}
            yield Case("rnn", inputs, (outputs, last[0]), close=1e-5)
        weights = {n: normal(rng, 15, size) for n, size in (("weight_ih", 4), ("weight_hh", 5))}
        weights["bias"] = normal(rng, 15)
        outputs = _gru(turned, t(h), *map(t, weights.values()))
        for opset in (IOS15, IOS18):
            yield Case("gru", {"x": x, "initial_h": h, **weights, **way}, (outputs, outputs[-1]), opset, close=1e-5)
        layer = nn.GRU(4, 5)  # ops/tests/iOS18/test_recurrent.py
        outputs, last = layer(turned, t(h)[None])
        order = torch.arange(15).reshape(3, 5)[[0, 2, 1]].flatten()
        weights = {n: getattr(layer, f"{n}_l0").detach()[order].numpy() for n in ("weight_ih", "weight_hh")}
        weights |= {"input_bias": layer.bias_ih_l0.detach()[order].numpy(), "reset_after": np.True_}
        weights |= {"bias": layer.bias_hh_l0.detach()[order].numpy()}
        yield Case("gru", {"x": x, "initial_h": h, **weights, **way}, (outputs, last[0]), IOS18, close=1e-5)
        layer = nn.LSTM(4, 5)
        outputs, (hidden, cell) = layer(turned, (t(h)[None], t(c)[None]))
        weights = dict(zip(("weight_ih", "weight_hh", "bias"), _halves(layer, [0, 1, 3, 2]), strict=True))
        inputs = {"x": x, "initial_h": h, "initial_c": c, **weights}
        yield Case("lstm", {**inputs, **way}, (outputs, hidden[0], cell[0]), close=1e-5)
        yield Case("lstm", {**inputs, "direction": way["direction"]}, (hidden, hidden[0], cell[0]), close=1e-5)
        outputs, hidden, cell = _clipped(turned, t(h), t(c), *map(t, weights.values()), 0.1)
        yield Case("lstm", {**inputs, **way, "clip": np.float32(0.1)}, (outputs, hidden, cell), close=1e-5)
    layer = nn.LSTM(4, 5, bidirectional=True)
    both = [normal(rng, 2, 10), normal(rng, 2, 10)]
    outputs, (hidden, cell) = layer(t(x), tuple(torch.stack(t(v).chunk(2, -1)) for v in both))
    weights = {
        f"{n}{suffix}": v
        for suffix, theirs in (("", ""), ("_back", "_reverse"))
        for n, v in zip(("weight_ih", "weight_hh", "bias"), _halves(layer, [0, 1, 3, 2], theirs), strict=True)
    }
    inputs = {"x": x, "initial_h": both[0], "initial_c": both[1], **weights, "direction": "bidirectional"}
    expected = (outputs, torch.cat(list(hidden), -1), torch.cat(list(cell), -1))
    yield Case("lstm", {**inputs, "output_sequence": np.True_}, expected, IOS15, close=1e-5)


def cases(rng):
    for family in (convolutions, transposed, pools, normalizations, recurrent):
        yield from family(rng)
