"""Elementwise operations and activations."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from mil_cases.case import PAIRS, SHAPES, SPECIAL, Case, normal, t

UNARY = {
    **{n: getattr(torch, n) for n in ("abs", "acos", "asin", "atan", "atanh", "ceil", "cos", "cosh", "erf", "exp")},
    **{n: getattr(torch, n) for n in ("exp2", "floor", "round", "sin", "sinh", "sqrt", "square", "tan", "tanh")},
    "sigmoid": torch.sigmoid,
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
    "softsign": F.softsign,
    "sign": lambda x: torch.where(x.isnan(), x, torch.sign(x)),  # torch has no sign for NaN, and says 0
    "softplus": lambda x: F.softplus(x, threshold=80),
    "identity": torch.clone,
}
BINARY = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "real_div": torch.div,
    "floor_div": torch.floor_divide,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "mod": torch.remainder,
    "equal": torch.eq,
    "not_equal": torch.ne,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
}
LOGICAL = {"logical_and": torch.logical_and, "logical_or": torch.logical_or, "logical_xor": torch.logical_xor}


def unary(rng):
    for name, function in UNARY.items():
        for x in (*(normal(rng, *s) for s in SHAPES), normal(rng, 50, scale=8), SPECIAL):
            yield Case(name, {"x": x}, function(t(x)), close=5e-6)
    for name in ("abs", "sign", "square"):
        x = rng.integers(-9, 9, (3, 4)).astype(np.int32)
        yield Case(name, {"x": x}, UNARY[name](t(x)) if name != "sign" else torch.sign(t(x)))
    yield Case("round", {"x": np.array([0.5, 1.5, -0.5, 2.5], np.float32)}, torch.tensor([0.0, 2.0, -0.0, 2.0]))
    x = rng.integers(0, 2, (3, 4)).astype(bool)
    yield Case("logical_not", {"x": x}, torch.logical_not(t(x)))


def binary(rng):
    for name, function in BINARY.items():
        for left, right in PAIRS:
            x, y = normal(rng, *left, scale=3), normal(rng, *right, scale=3)
            yield Case(name, {"x": x, "y": y}, function(t(x), t(y)))
            if name == "real_div":  # of whole numbers it is whole again, which the interpreter sees to
                continue
            x, y = (rng.integers(1, 9, s).astype(np.int32) * rng.choice([-1, 1]) for s in (left, right))
            yield Case(name, {"x": x, "y": y.astype(np.int32)}, function(t(x), t(y.astype(np.int32))))
        if name not in ("mod", "floor_div"):  # torch's own kernels differ about infinities there
            yield Case(name, {"x": SPECIAL, "y": SPECIAL[::-1].copy()}, function(t(SPECIAL), t(SPECIAL[::-1])))
    for left, right in PAIRS:
        x, y = np.abs(normal(rng, *left)), normal(rng, *right)
        yield Case("pow", {"x": x, "y": y}, torch.pow(t(x), t(y)), close=5e-6)
        x, y = (rng.integers(0, 2, s).astype(bool) for s in (left, right))
        for name, function in LOGICAL.items():
            yield Case(name, {"x": x, "y": y}, function(t(x), t(y)))


def others(rng):
    x = normal(rng, 3, 5, scale=4)
    for mil, torch_type in {
        "int32": torch.int32,
        "bool": torch.bool,
        "fp16": torch.float16,
        "int8": torch.int8,
    }.items():
        yield Case("cast", {"x": x, "dtype": mil}, t(x).to(torch_type))
    whole = rng.integers(-3, 3, (4, 2)).astype(np.int32)
    yield Case("cast", {"x": whole, "dtype": "bool"}, t(whole).bool())
    yield Case("cast", {"x": whole, "dtype": "fp32"}, t(whole).float())
    for values in (x, SPECIAL):
        low, high = np.float32(-1), np.float32(0.5)
        yield Case("clip", {"x": values, "alpha": low, "beta": high}, torch.clamp(t(values), -1, 0.5))
        yield Case("threshold", {"x": values, "alpha": high}, torch.clamp(t(values), min=0.5))
    positive = np.abs(x) + np.float32(0.1)
    for e in (np.float32(1e-3), np.float32(0.2)):
        yield Case("log", {"x": positive, "epsilon": e}, torch.log(t(positive) + float(e)))
        yield Case("rsqrt", {"x": positive, "epsilon": e}, torch.rsqrt(t(positive) + float(e)))
        yield Case("inverse", {"x": positive, "epsilon": e}, torch.reciprocal(t(positive) + float(e)))
    yield Case("log", {"x": np.zeros(2, np.float32)}, torch.log(torch.full((2,), 1e-45)))
    cond = rng.integers(0, 2, (4, 1)).astype(bool)
    a, b = normal(rng, 4, 3), normal(rng, 3)
    yield Case("select", {"cond": cond, "a": a, "b": b}, torch.where(t(cond), t(a), t(b)))


def activations(rng):
    alpha, beta = np.float32(0.3), np.float32(0.6)
    for x in (normal(rng, 2, 3, 4, 5, scale=2), SPECIAL, normal(rng, 0, 3)):
        v = t(x)
        slope = torch.where(v >= 0, v, 0.3 * v)
        both = {"x": x, "alpha": alpha, "beta": beta}
        yield Case("clamped_relu", both, torch.minimum(torch.tensor(0.6), slope))
        yield Case("linear_activation", both, v * 0.3 + 0.6)
        yield Case("scaled_tanh", both, 0.3 * torch.tanh(0.6 * v))
        yield Case("sigmoid_hard", both, torch.clamp(0.3 * v + 0.6, 0, 1))
        yield Case("elu", {"x": x, "alpha": alpha}, F.elu(v, 0.3))
        yield Case("leaky_relu", {"x": x, "alpha": alpha}, F.leaky_relu(v, 0.3))
        yield Case("thresholded_relu", {"x": x, "alpha": alpha}, torch.where(v >= 0.3, v, 0.0))
        if x is not SPECIAL:  # torch says NaN for infinity
            yield Case("gelu", {"x": x}, F.gelu(v), close=5e-6)
        yield Case("gelu", {"x": x, "mode": "TANH_APPROXIMATION"}, F.gelu(v, approximate="tanh"), close=5e-6)
        sigmoid = v * torch.sigmoid(1.702 * v)
        yield Case("gelu", {"x": x, "mode": "SIGMOID_APPROXIMATION"}, sigmoid, close=5e-6)
    hard = {"x": normal(rng, 9, scale=4), "alpha": np.float32(1 / 6), "beta": np.float32(0.5)}
    yield Case("sigmoid_hard", hard, F.hardsigmoid(t(hard["x"])))
    for shape in ((2, 3, 4), (2, 3, 4, 5), (1, 3, 2, 2, 2)):
        x, slopes, scales = normal(rng, *shape), normal(rng, 3), normal(rng, 3)
        yield Case("prelu", {"x": x, "alpha": slopes}, F.prelu(t(x), t(slopes)))
        wide = [v.reshape(3, *[1] * (len(shape) - 2)) for v in (t(slopes), t(scales))]
        inputs = {"x": x, "alpha": slopes, "beta": scales}
        yield Case("softplus_parametric", inputs, wide[0] * F.softplus(wide[1] * t(x)))
    for shape in ((4,), (2, 3, 4), (2, 0, 3)):
        for axis in range(-len(shape), len(shape)):
            x = normal(rng, *shape, scale=30)
            yield Case("softmax", {"x": x, "axis": np.int32(axis)}, torch.softmax(t(x), axis))
    for name, function in (("softplus", UNARY["softplus"]), ("softmax", lambda v: v.softmax(-1))):
        steep = np.array([-500, -90, 0, 90, 500], np.float32)
        yield Case(name, {"x": steep}, function(t(steep)))
    masked = np.array([[0.0, -np.inf, 1.0], [np.nan, 1, 2]], np.float32)
    yield Case("softmax", {"x": masked}, torch.softmax(t(masked), -1))


def attention(rng):
    for lead in ((2,), (2, 3)):
        q, k, v = normal(rng, *lead, 5, 8), normal(rng, *lead, 7, 8), normal(rng, *lead, 7, 6)
        inputs = {"query": q, "key": k, "value": v}
        masks = [rng.integers(0, 2, (5, 7)).astype(bool) | np.eye(5, 7, dtype=bool), normal(rng, *lead, 5, 7), None]
        for mask in masks:
            more = {} if mask is None else {"attn_mask": mask}
            expected = F.scaled_dot_product_attention(*map(t, (q, k, v)), attn_mask=None if mask is None else t(mask))
            yield Case("scaled_dot_product_attention", {**inputs, **more}, expected)


def products(rng):
    for x_shape, y_shape in (
        ((3,), (3,)),
        ((2, 3), (3, 4)),
        ((3,), (5, 3, 2)),
        ((5, 2, 3), (3,)),
        ((2, 1, 4, 3), (5, 3, 2)),
    ):
        x, y = normal(rng, *x_shape), normal(rng, *y_shape)
        yield Case("matmul", {"x": x, "y": y}, torch.matmul(t(x), t(y)))
        turned = [np.ascontiguousarray(v.swapaxes(-1, -2)) if v.ndim > 1 else v for v in (x, y)]
        flags = {"transpose_x": np.True_, "transpose_y": np.True_}
        yield Case("matmul", {"x": turned[0], "y": turned[1], **flags}, torch.matmul(t(x), t(y)))
    whole = [rng.integers(-5, 5, s).astype(np.int32) for s in ((2, 3), (3, 2))]
    yield Case("matmul", {"x": whole[0], "y": whole[1]}, t(whole[0]) @ t(whole[1]))
    mixed = {"x": normal(rng, 4, 2), "y": whole[0]}  # from iOS17 on, where one of them is a constant
    yield Case("matmul", mixed, t(mixed["x"]) @ t(whole[0]).float())
    yield Case("linear", {"x": mixed["x"], "weight": whole[1]}, F.linear(t(mixed["x"]), t(whole[1]).float()))
    for lead in ((), (4,), (2, 3)):
        x, weight, bias = normal(rng, *lead, 6), normal(rng, 5, 6), normal(rng, 5)
        yield Case("linear", {"x": x, "weight": weight, "bias": bias}, F.linear(t(x), t(weight), t(bias)))
        yield Case("linear", {"x": x, "weight": weight}, F.linear(t(x), t(weight)))
    for equation, shapes in {
        "nchw,nwhu->nchu": ((2, 3, 4, 5), (2, 5, 4, 6)),
        "chw,whr->chr": ((3, 4, 5), (5, 4, 6)),
    }.items():
        values = [normal(rng, *s) for s in shapes]
        yield Case("einsum", {"values": values, "equation": equation}, torch.einsum(equation, *map(t, values)))


def cases(rng):
    for family in (unary, binary, others, activations, attention, products):
        yield from family(rng)
