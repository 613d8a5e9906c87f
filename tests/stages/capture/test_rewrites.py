"""capture/rewrites.py: parts of models in words that converters understand, and the same answers."""

from __future__ import annotations

import pytest
import torch
from conversions import agrees, capture, export, ir
from torch import nn
from torch.nn import functional
from torch.nn.functional import scaled_dot_product_attention

from stages.capture import rewrites
from stages.formats import session
from stages.interface.interface import Dim, Input


class Root(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, least):
        ctx.save_for_backward(x)
        return x.clamp_min(least).sqrt()


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return x * 2, x + 1

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.set_materialize_grads(False)


class Applied(nn.Module):
    def forward(self, x):
        twice, more = Twice.apply(Root.apply(x, 0.25))
        return twice - more


def test_a_function_with_a_gradient_of_its_own_is_traced_as_what_it_computes(tmp_path):
    graph = export(
        "trace", Applied(), tmp_path, inputs={"x": Input(["batch", 3], fill="normal")}, dims={"batch": Dim(1, 2, 4)}
    )
    agrees(graph, tmp_path)
    assert "apply" not in vars(Root)
    assert Root.apply(torch.ones(1, requires_grad=True), 0.0).requires_grad


class Attending(nn.Module):
    """Attention with a mask of either kind, by the function's name in torch or in this file."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.qkv, self.how = nn.Linear(8, 24), how

    def forward(self, x, mask):
        q, k, v = self.qkv(x)[:, None].chunk(3, -1)
        visible = mask.bool()[:, None, None, :]
        if self.how == "minus infinity":
            visible = torch.zeros(mask.shape)[:, None, None, :].masked_fill(~visible, float("-inf"))
        if self.how == "by its own name":
            return scaled_dot_product_attention(q, k, v, visible)
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=visible)


MASKED = {"x": Input(["batch", "t", 8], fill="normal"), "mask": Input(["batch", "t"], "int64", "mask")}


@pytest.mark.parametrize(
    ("mask", "way"),
    [
        ("true and false", "export"),
        ("minus infinity", "trace"),
        pytest.param("by its own name", "export", marks=pytest.mark.slow),
        pytest.param("true and false", "trace", marks=pytest.mark.slow),
        pytest.param("minus infinity", "export", marks=pytest.mark.slow),
        pytest.param("by its own name", "trace", marks=pytest.mark.slow),
    ],
)
def test_rows_that_are_masked_all_through_are_zeros_in_every_conversion(mask, way, tmp_path):
    net = Attending(mask).eval()
    settings = {"inputs": MASKED, "dims": {"batch": Dim(1, 2, 4), "t": Dim(2, 5, 8)}}
    program = capture(way, net, tmp_path, **settings)
    x, ones = torch.randn(3, 6, 8), torch.ones(3, 6, dtype=torch.int64)
    ones[1], ones[2, 0] = 0, 0
    arrays = {"x": x.numpy(), "mask": ones.numpy()}
    for artifact in (export(way, net, tmp_path / "onnx", **settings), ir(program, tmp_path / "ir")):
        (output,) = session.open_session(artifact, "float32")(arrays).values()
        torch.testing.assert_close(torch.from_numpy(output), net(x, ones), rtol=1e-4, atol=1e-5)


def test_heads_that_share_keys_have_them_repeated():
    q, k, v = torch.randn(2, 6, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 8)
    expected = functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    with rewrites.attention():
        actual = functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        traced = torch.jit.trace(lambda q: functional.scaled_dot_product_attention(q, k, v, enable_gqa=True), q)
    torch.testing.assert_close(actual, expected)
    assert any(node.kind() == "aten::expand" for node in traced.graph.nodes())


@pytest.mark.parametrize(
    ("query", "key", "mask"),
    [
        ((2, 3, 4, 5, 8), (2, 3, 4, 7, 8), None),
        ((2, 3, 4, 5, 8), (2, 3, 4, 7, 8), (5, 7)),
        ((2, 3, 4, 5, 8), (2, 1, 4, 7, 8), (2, 3, 1, 5, 7)),
        ((2, 2, 3, 4, 5, 8), (2, 2, 3, 4, 7, 8), (3, 4, 5, 7)),
        ((2, 3, 4, 5, 8), (4, 7, 8), (4, 5, 7)),
        ((3, 5, 8), (3, 7, 8), (3, 5, 7)),
        ((5, 8), (7, 8), (5, 7)),
    ],
)
def test_attention_of_any_number_of_dimensions_is_of_four(query, key, mask):
    q, k, visible = torch.randn(query), torch.randn(key), None if mask is None else torch.rand(mask) > 0.2
    expected, attend = (
        functional.scaled_dot_product_attention(q, k, k, visible),
        functional.scaled_dot_product_attention,
    )
    with rewrites.attention():
        torch.testing.assert_close(functional.scaled_dot_product_attention(q, k, k, visible), expected)
        traced = torch.jit.trace(lambda q, k: functional.scaled_dot_product_attention(q, k, k), (q, k))
    (node,) = traced.graph.findAllNodes("aten::scaled_dot_product_attention")
    assert [value.type().dim() for value in list(node.inputs())[:3]] == [4, 4, 4]
    longer = [torch.cat([t, t], -2) for t in (q, k)]
    torch.testing.assert_close(traced(*longer), attend(longer[0], longer[1], longer[1]))


def test_attention_is_put_back_as_it_was():
    before = functional.scaled_dot_product_attention
    with rewrites.attention():
        assert functional.scaled_dot_product_attention is not before
    assert functional.scaled_dot_product_attention is scaled_dot_product_attention is before


@pytest.mark.parametrize("name", ["log1p", "expm1"])
def test_small_and_large_numbers_are_known_alike(name):
    sizes = torch.cat([10.0 ** torch.arange(-30, 2), torch.tensor([0.0, 0.2499, 0.25, 0.2501, 80.0])])
    x = torch.cat([sizes, -sizes[sizes < 0.999], torch.tensor([-1.0, 1e30, torch.inf, torch.nan])])
    expected = getattr(x.double(), name)().float()
    with rewrites.near_one():
        for actual in (getattr(torch, name)(x), getattr(x, name)(), getattr(torch.special, name)(x)):
            torch.testing.assert_close(actual, expected, rtol=5e-7, atol=0, equal_nan=True)
        assert getattr(torch.tensor([2]), name)().dtype is torch.float32
    assert "stages" not in str(getattr(torch, name))


class Decibels(nn.Module):
    def forward(self, x):
        return torch.log1p(x) + x.expm1()


@pytest.mark.parametrize("how", ["export", "trace"])
def test_a_capture_has_neither(how, tmp_path):
    exported = export(how, Decibels(), tmp_path, inputs={"x": Input(["batch", 4])})
    tiny = torch.full((2, 4), 1e-6).numpy()
    output = session.open_session(exported, "float32")({"x": tiny})["output"]
    assert output == pytest.approx(2e-6, rel=1e-5)


def test_nothing_is_joined_to_what_has_more_dimensions():
    x, nothing = torch.randn(2, 3), torch.tensor([])
    with rewrites.joining():
        traced = torch.jit.trace(lambda x: torch.cat([nothing, x, x], dim=-1), x)
        assert torch.cat([nothing, x[0]]).tolist() == x[0].tolist()
    (node,) = traced.graph.findAllNodes("aten::cat")
    assert len(list(node.inputsAt(0).node().inputs())) == 2
    torch.testing.assert_close(traced(x), torch.cat([x, x], -1))


@pytest.mark.parametrize(
    ("pool", "shape", "whole"),
    [
        (nn.AvgPool2d(320, ceil_mode=True), (2, 3, 2, 2), True),
        (nn.AvgPool1d(9, ceil_mode=True), (2, 3, 5), True),
        (nn.MaxPool2d((9, 2), ceil_mode=True), (2, 3, 5, 2), True),
        (nn.MaxPool3d(9, ceil_mode=True), (2, 3, 5, 4, 3), True),
        (nn.AvgPool2d((9, 2), ceil_mode=True), (2, 3, 5, 4), False),
        (nn.AvgPool2d(5, ceil_mode=True), (2, 3, 5, 5), False),
        (nn.AvgPool2d(6, padding=1, ceil_mode=True), (2, 3, 5, 5), False),
        (nn.AvgPool2d(9, ceil_mode=True, divisor_override=7), (2, 3, 5, 5), False),
        (nn.MaxPool2d(2, dilation=4, ceil_mode=True), (2, 3, 5, 5), False),
        (nn.MaxPool2d(3), (2, 3, 5, 5), False),
    ],
)
def test_a_window_beyond_the_whole_input_is_a_reduction(pool, shape, whole):
    x = torch.randn(shape)
    with rewrites.pooling():
        program = torch.export.export(pool, (x,))
    assert any("pool" in str(n.target) for n in program.graph.nodes) is not whole
    torch.testing.assert_close(program.module()(x), pool(x))


def test_openvino_takes_a_window_beyond_the_input(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AvgPool2d(16, ceil_mode=True))
    graph = export("export", net, tmp_path, inputs={"x": Input(["batch", 3, 8, 8])})
    agrees(ir(graph, tmp_path / "ir"), tmp_path)


class Counts(nn.Module):
    def forward(self, x):
        return x.reshape(len(x), -1) * len([x, x])


@pytest.mark.parametrize("how", ["export", "trace"])
def test_len_of_a_tensor_keeps_the_size_open(how, tmp_path):
    agrees(export(how, Counts(), tmp_path, inputs={"x": Input(["batch", 2, 4])}), tmp_path)
    assert "len" not in globals()


@pytest.mark.parametrize(
    "pool", [nn.MaxPool1d(4), nn.MaxPool1d(3, 2, padding=1, dilation=2), nn.MaxPool1d(3, stride=2, ceil_mode=True)]
)
@pytest.mark.parametrize("shape", [["batch", 3, "length"], [3, "length"]])
def test_the_largest_of_windows_keeps_an_open_length(pool, shape, tmp_path):
    dims = {"batch": Dim(1, 2, 3), "length": Dim(5, 16, 64)}
    used = {n: d for n, d in dims.items() if n in shape}
    agrees(export("export", pool, tmp_path, inputs={"x": Input(shape)}, dims=used), tmp_path)
