"""Functions of operators that coremltools lacks or gets wrong, each with the shape that it is called with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torchvision.ops import roi_align

IMAGE = ["batch", 2, 6, 8]
VIDEO = ["batch", 2, 5, 6, 7]
HANN = torch.hann_window(32)
KERNEL = torch.arange(36.0).reshape(2, 2, 3, 3).sin()
OF_ANY = (torch.atan, torch.cos, torch.cosh, torch.erf, torch.exp, torch.exp2, torch.sigmoid, torch.sin, torch.sinh)
OF_ONE = (torch.acos, torch.asin, torch.tan, torch.tanh)
LOGARITHMS = (torch.log, torch.log10, torch.log2, torch.sqrt)
PARTS = torch.tensor([[0, 1, 2, 9, 8], [0, -5, -3, 3.3, 4], [0, 5, 1, 5.2, 1.1], [0, 6, 2, 30, 20]])
WINDOWS = [(2, 3, 0), (3, 2, 1), (2, 2, 1), (4, 3, 2), (1, 4, 0)]


class Calls(nn.Module):
    """Functions as a module."""

    def __init__(self, *functions: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self._functions = functions

    def forward(self, x: torch.Tensor) -> Any:
        answers = tuple(function(x) for function in self._functions)
        return answers if len(answers) > 1 else answers[0]


def resized(size: Any, mode: str = "bicubic", **how: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: functional.interpolate(x, **({"size": size} if size else {}), mode=mode, **how)


def zeroed(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[:, 1:].zero_()
    return x


def written(x: torch.Tensor) -> torch.Tensor:
    y = x * 1
    y[..., 0].mul_(3)
    part = y[:, 1:3].add_(2)
    y[1, 2:].clamp_(min=0)
    return y + part.sum()


def filled(x: torch.Tensor) -> torch.Tensor:
    y = x * 1
    y[..., 0].mul_(3)
    y[:, -1] = 2.0
    y[:, :, 2:4].zero_()
    y[:, 0, 1] = x[:, 1, 0]
    return y


def joined(x: torch.Tensor) -> torch.Tensor:
    count, height, width, channels = x.shape
    x = x.view(count, height // 2, 2, width // 3, 3, channels).permute(0, 1, 3, 2, 4, 5).reshape(-1, 2, 3, channels) * 2
    count = x.shape[0] // (height * width // 2 // 3)
    x = x.view(count, height // 2, width // 3, 2, 3, -1).permute(0, 1, 3, 2, 4, 5)
    return x.contiguous().view(count, height, width, -1)


def collected(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    places = (x.abs() * 10).long() % x.shape[1]
    return tuple(
        x.new_full(x.shape, 0.5).scatter_reduce(1, places, x, how, include_self=included)
        for how in ("sum", "mean", "prod", "amax", "amin")
        for included in (True, False)
    )


def spectra(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    fft = torch.fft
    return (
        fft.fft(x).real,
        fft.fftn(x, dim=(0, 2)).imag,
        fft.rfft(x, dim=1, norm="ortho").abs(),
        torch.view_as_real(fft.ifft(fft.fft(x, norm="forward"), norm="forward"))[..., 0],
        fft.irfft(fft.rfft(x, dim=1), n=x.shape[1], dim=1) * 2,
        fft.irfft(fft.rfft(x), norm="forward"),
        fft.fft2(x * 3).real,
    )


def turned(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    z = torch.view_as_complex(x.reshape(x.shape[0], -1, 3, 2)) * torch.polar(torch.ones(3), torch.arange(3.0))
    w = torch.cat([z.transpose(1, 2)[:, 1:] - 1, z.transpose(1, 2)[:, :1].conj() / (z.transpose(1, 2)[:, 1:2] + 3)], 1)
    return (
        torch.view_as_real(w[:, 0].unsqueeze(1)).flatten(1),
        (w * z.transpose(1, 2)).exp().imag,
        torch.complex(x, -x).abs(),
    )


def padded(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    odd = (4 - x.shape[2] % 4) % 4
    return (
        functional.pad(x, (0, 0, 0, odd)),
        functional.pad(x, (1, 2, odd, 1), value=3),
        functional.pad(x[:, 0].transpose(1, 2), (x.shape[2] - 6, x.shape[2] - 5), mode="reflect"),
        functional.pad(x[:, 1], (x.shape[2], 1), mode="replicate"),
        functional.pad(x.flatten(1), (x.shape[2], 0)),
    )


def scattered(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    places = x.abs().topk(2, dim=1).indices
    return (
        x.scatter(1, places, 1),
        x.scatter(1, places, x * 2),
        x.scatter_add(1, places, x * 3),
        torch.zeros_like(x).scatter_(1, places, 5),
    )


def solved(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    a, solve = x[:, 0, :4, :4] / 3, torch.linalg.solve_triangular
    b, c = x[:, 0, :4, 3:], a + 2 * torch.eye(4)
    return (
        solve(a, b, upper=False, unitriangular=True),
        solve(c, b, upper=True),
        solve(c, b.transpose(1, 2), upper=False, left=False),
    )


def split(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    first, last = x.chunk(2, dim=1)
    some, others = x.split([2, x.shape[1] - 2], dim=1)
    return first * 2, last * 2, some * 2, others * 3, x.index_add(1, torch.tensor([0, 2, 2]), x[:, :3], alpha=2)


def windows(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(-1, 2, 3, 2, 4, 2).permute(0, 3, 5, 2, 4, 1).reshape(-1, 4, 24)


def heads(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    q, k, v = x.reshape(-1, 3, 4, 3, 2, 2).permute(3, 0, 4, 2, 1, 5).unbind(0)
    return q @ k.transpose(-1, -2), v, x.reshape(-1, 2, 3, 2, 3, 4).amax(3), x.reshape(-1, 2, 3, 2, 3, 4).mean((1, 2))


def unrolled(x: torch.Tensor) -> torch.Tensor:
    for size in (4, 2):
        x = x.view(x.shape[0], size, 2, size, 2, 3).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    return x.reshape(-1, 8, 24) * 2


# What is asked, and the shape that it is asked of.
CASES: Mapping[str, tuple[Callable[[torch.Tensor], Any], list[Any]]] = {
    "new_ones, a mask": (lambda x: x * (x.new_ones(x.shape, dtype=torch.bool) & (x > 0)), IMAGE),
    "new_ones, a known size": (lambda x: x + x.new_ones((2, 1, 8)), IMAGE),
    "upsample_bicubic2d to a size": (resized((9, 5)), IMAGE),
    "upsample_bicubic2d by a factor": (resized(None, scale_factor=(1.5, 2.0)), IMAGE),
    "upsample_bicubic2d by the corners": (resized((9, 5), align_corners=True), IMAGE),
    "upsample_bicubic2d with antialiasing": (resized((4, 3), antialias=True), IMAGE),
    "upsample_bilinear2d with antialiasing": (resized((4, 3), "bilinear", antialias=True), IMAGE),
    "upsample_bilinear2d with antialiasing by a factor": (
        resized(None, "bilinear", scale_factor=(0.4, 0.3), antialias=True),
        IMAGE,
    ),
    "upsample_nearest2d by factors": (
        lambda x: (
            resized(None, "nearest", scale_factor=(1.7, 0.7))(x),
            resized(None, "nearest", scale_factor=(2, 1.5))(x),
            resized((9, 5), "nearest")(x),
        ),
        IMAGE,
    ),
    "conv_transpose2d that grows": (
        lambda x: functional.conv_transpose2d(x, KERNEL, torch.tensor([5.0, -5.0]), (2, 3), (1, 0), (1, 2)),
        IMAGE,
    ),
    "conv_transpose2d that grows less than it is cut": (
        lambda x: functional.conv_transpose2d(x, KERNEL[:, :1], None, 3, 2, (1, 2), 2, (1, 2)),
        IMAGE,
    ),
    "conv_transpose1d of an open width": (
        lambda x: functional.conv_transpose1d(x, KERNEL[..., 0], None, 4, 1, 3),
        ["batch", 2, "wide"],
    ),
    "conv_transpose2d that does not grow": (lambda x: functional.conv_transpose2d(x, KERNEL, None, 2, 1), IMAGE),
    "alias": (lambda x: torch.ops.aten.alias(x) + 1, IMAGE),
    "repeat_interleave": (
        lambda x: (
            x.repeat_interleave(3, 1),
            x.repeat_interleave(2, dim=-1),
            x.repeat_interleave(2, 0),
        ),
        ["batch", 2, "wide"],
    ),
    "repeat_interleave by a size": (
        lambda x: x.repeat_interleave(torch.tensor(x.shape[2]) - 4, 1),
        ["batch", 2, "wide"],
    ),
    "repeat_interleave of five axes": (lambda x: x.repeat_interleave(2, 3), ["batch", 2, 1, "wide", 3]),
    "eye of a size, and of two": (
        lambda x: (
            x @ torch.eye(x.shape[2]) * 2,
            torch.eye(x.shape[2], 3, dtype=torch.int32) + 1,
            torch.eye(2, 3, dtype=torch.bool) | (x[0, :, :3] > 0),
        ),
        ["batch", 2, "wide"],
    ),
    "im2col": (
        lambda x: (functional.unfold(x, 3, padding=1), functional.unfold(x, (2, 3), 2, (0, 1), (3, 1))),
        ["batch", 3, "wide", 7],
    ),
    "scatter_reduce": (collected, ["batch", "wide", 2]),
    "fft": (spectra, ["batch", 7, 6]),
    "fft of an open size": (spectra, ["batch", "wide", 5]),
    "fft of many numbers": (lambda x: (torch.fft.fft(x).real, torch.fft.rfft(x).abs()), ["batch", 600]),
    "complex numbers": (turned, ["batch", "wide", 6]),
    "stft": (
        lambda x: (
            torch.stft(x, 32, 8, window=HANN, return_complex=True).abs(),
            torch.view_as_real(
                torch.stft(
                    x,
                    20,
                    win_length=16,
                    center=False,
                    onesided=False,
                    normalized=True,
                    window=HANN[:16],
                    return_complex=True,
                )
            ),
        ),
        ["batch", "samples"],
    ),
    "pad by a size": (padded, ["batch", 2, "wide", 6]),
    "scatter": (scattered, ["batch", "wide", 2]),
    "solve_triangular": (solved, IMAGE),
    "cumsum": (
        lambda x: (x.cumsum(-2), (x > 0).cumsum(1), x.cumsum(-1, dtype=torch.int32), x.cumsum(0)),
        ["batch", "wide", 5],
    ),
    "split by a size, index_add": (split, ["batch", "wide", 3]),
    "col2im": (
        lambda x: (
            functional.fold(functional.unfold(x, 3, padding=1), (6, 8), 3, padding=1),
            functional.fold(functional.unfold(x, (2, 3), (2, 1), 1, (3, 2)), (6, 8), (2, 3), (2, 1), 1, (3, 2)),
        ),
        IMAGE,
    ),
    "adaptive_max_pool2d": (
        lambda x: (functional.adaptive_max_pool2d(x, (4, 3)), functional.adaptive_max_pool1d(x[:, 0], 5)),
        IMAGE,
    ),
    "pad that goes around": (lambda x: functional.pad(x, (2, 1, 1, 0), mode="circular"), IMAGE),
    "round to decimals, shifts": (
        lambda x: (x.round(decimals=1), (x * 90).round(decimals=-1), (x * 99).int() >> 2, (x * 9).int() << 3),
        ["batch", 40],
    ),
    "queries, keys and values of windows": (heads, ["batch", 12, 12]),
    "windows unrolled twice": (unrolled, ["batch", 8, 8, 3]),
    "outer of two types": (lambda x: torch.outer(torch.arange(3), x[0]), ["batch", 40]),
    "attention of five dimensions": (
        lambda x: functional.scaled_dot_product_attention(x, x[..., :4, :] * 2, x[..., 2:6, :3]),
        VIDEO,
    ),
    "broadcast_tensors, expand": (
        lambda x: (
            torch.broadcast_tensors(x, x[:, :1, :, 3:4] + 1, torch.ones(8))[1] * 2,
            x[..., :1].expand(-1, -1, 6, 5) * 3,
            x[:1].expand_as(x) * 2,
            x[:, 0, 0].expand(3, -1, -1) + 1,
        ),
        IMAGE,
    ),
    "functions of whole numbers": (
        lambda x: tuple(
            function(whole)
            for whole, functions in (
                ((x > 9) + torch.arange(-12, 12) // 2, OF_ANY),
                (x > 0, OF_ANY + OF_ONE),
                ((x > 9) + torch.arange(1, 25), LOGARITHMS),
            )
            for function in functions
        ),
        ["batch", 24],
    ),
    "roi_align": (
        lambda x: (
            roi_align(x, PARTS, (3, 2), 0.5, 2),
            roi_align(x, PARTS, 4, 1.0, 1, aligned=True),
            roi_align(x[-1:] * 2, [PARTS[:, 1:]], (2, 5), 0.7, 3),
        ),
        IMAGE,
    ),
    "arithmetic in six dimensions": (
        lambda x: (1 - x.view(len(x), 2, 2, 3, 2, 4) / torch.sqrt(torch.tensor(2))).reshape(len(x), 4, -1),
        IMAGE,
    ),
    "windows that become a picture": (joined, ["batch", 6, 9, 4]),
    "windows of a picture": (
        lambda x: x.unfold(2, 4, 2).unfold(3, 4, 2).reshape(len(x) * 2, 1, 6, -1).permute(0, 2, 3, 1) * 2,
        IMAGE,
    ),
    "unfold, diff": (
        lambda x: (
            x.unfold(1, 3, 2) * 2,
            x.unfold(-1, 2, 1) + 1,
            x.diff(dim=1),
            torch.diff(x, n=2, prepend=x[..., :1], append=x[..., 1:3]),
            (x > 0).diff(),
        ),
        ["batch", "wide", 5],
    ),
    "swapaxes": (lambda x: x.swapaxes(1, -1) * 2, IMAGE),
    "adaptive_avg_pool1d": (lambda x: functional.adaptive_avg_pool1d(x.flatten(2), 7), IMAGE),
    "adaptive_avg_pool2d": (lambda x: functional.adaptive_avg_pool2d(x, (4, 8)), IMAGE),
    "adaptive_avg_pool2d in equal windows": (lambda x: functional.adaptive_avg_pool2d(x, (3, 2)), IMAGE),
    "adaptive_avg_pool3d": (lambda x: functional.adaptive_avg_pool3d(x, (2, None, 4)), VIDEO),
    "adaptive_avg_pool3d of all": (lambda x: functional.adaptive_avg_pool3d(x, 1), VIDEO),
    "tensor_split into parts": (lambda x: torch.tensor_split(x, 5, dim=-1)[1] * 2, IMAGE),
    "tensor_split at indices": (lambda x: torch.tensor_split(x, (2, -3), dim=3)[1] * 2, IMAGE),
    "group_norm": (lambda x: functional.group_norm(x, 2, torch.tensor([1.0, 2.0]), torch.tensor([0.0, 3.0])), IMAGE),
    "group_norm of an open width": (lambda x: functional.group_norm(x, 1), ["batch", 2, "wide"]),
    "avg_pool2d over the edge": (lambda x: functional.avg_pool2d(x, (4, 3), ceil_mode=True), IMAGE),
    "avg_pool2d over the edge, padded": (
        lambda x: functional.avg_pool2d(x, 3, 3, 1, ceil_mode=True),
        ["batch", 2, 7, 8],
    ),
    "avg_pool2d over the edge, uncounted": (
        lambda x: functional.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
        IMAGE,
    ),
    "avg_pool1d over the edge": (lambda x: functional.avg_pool1d(x.flatten(2), 5, 3, ceil_mode=True), IMAGE),
    "avg_pool1d over an open edge": (lambda x: functional.avg_pool1d(x, 5, 4, ceil_mode=True), ["batch", 2, "wide"]),
    "avg_pool3d over the edge": (lambda x: functional.avg_pool3d(x, 2, 2, ceil_mode=True), VIDEO),
    "avg_pool1d with gaps over an open edge": (
        lambda x: functional.avg_pool1d(x, 4, 3, 2, ceil_mode=True),
        ["batch", 2, "wide"],
    ),
    "avg_pool3d over the edge, padded": (lambda x: functional.avg_pool3d(x, 3, 2, 1, ceil_mode=True), VIDEO),
    "max_pool1d over an open edge": (
        lambda x: torch.cat([functional.max_pool1d(x - 9, k, s, p, ceil_mode=True) for k, s, p in WINDOWS], -1),
        ["batch", 2, "wide"],
    ),
    "max_pool2d and 3d over the edge": (
        lambda x: (
            functional.max_pool2d(x[:, 0] - 9, (2, 3), (3, 2), ceil_mode=True),
            functional.max_pool3d(x - 9, 2, 3, 1, ceil_mode=True),
        ),
        VIDEO,
    ),
    "instance_norm by what was kept": (
        lambda x: functional.instance_norm(
            x, torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0]), torch.tensor([2.0, 1.0]), None, False
        ),
        IMAGE,
    ),
    "reciprocal and rsqrt of little": (
        lambda x: (1 / (1e-6 * x.abs() + 1e-7), 1e-9 * torch.rsqrt(1e-13 * x.abs() + 1e-14)),
        IMAGE,
    ),
    "remainder and fmod": (
        lambda x: tuple(rest(x, by) for rest in (torch.remainder, torch.fmod) for by in (1, -0.75, 1 + x.abs())),
        IMAGE,
    ),
    "remainder and fmod of whole numbers": (
        lambda x: tuple(rest((x * 9).int(), by) for rest in (torch.remainder, torch.fmod) for by in (1, 4, -3)),
        IMAGE,
    ),
    "divisions rounded down": (
        lambda x: (x // 1, x // -0.75, torch.div(x, 1, rounding_mode="floor"), (x * 9).int() // 1),
        IMAGE,
    ),
    "avg_pool2d within the edge, padded": (lambda x: functional.avg_pool2d(x, 3, 1, 1), IMAGE),
    "rms_norm, rows of zeros too": (
        lambda x: functional.rms_norm(torch.cat([x, 0 * x, 1e-4 * x, 1e4 * x]), (8,), torch.arange(8.0), 1e-3),
        IMAGE,
    ),
    "rms_norm without epsilon": (lambda x: functional.rms_norm(x.relu(), (6, 8)), IMAGE),
    "a mask that is added": (
        lambda x: (x + torch.zeros_like(x > 0, dtype=torch.float32).masked_fill_(x > 1, -torch.inf)).softmax(-1),
        IMAGE,
    ),
    "zeros_like of infinity": (lambda x: torch.zeros_like(x.masked_fill(x > 1, torch.inf)) + x, IMAGE),
    "full_like, ones_like, new_zeros, new_full": (
        lambda x: (
            torch.full_like(x > 0, 2, dtype=torch.int32) * torch.ones_like(x > 0, dtype=torch.float32)
            + (x > 0).new_zeros(x.shape, dtype=torch.float32)
            + (x > 0).new_full(x.shape, 7, dtype=torch.int32)
            + x
        ),
        ["batch", 2, "wide"],
    ),
    "where of two numbers": (lambda x: torch.where(x > 0, 1.0, -2.0), ["batch", 2, "wide"]),
    "where of a wider condition": (lambda x: torch.where(x > 0, x[:1, :1], x[:1]), ["batch", 2, "wide"]),
    "sizes divided": (
        lambda x: functional.avg_pool1d(x, 2) + x.new_ones((x.shape[0], 1, x.shape[2] // 2)),
        ["batch", 2, "wide"],
    ),
    "gelu, exact and by tanh": (
        lambda x: (functional.gelu(3 * x.tanh()), functional.gelu(3 * x, approximate="tanh")),
        ["batch", 2, "wide"],
    ),
    "index_copy": (lambda x: x.index_copy(1, torch.tensor([2, 0]), 3 * x[:, :2]), [2, 4]),
    "zero_ of a part": (zeroed, [2, 4]),
    "writes into parts": (written, [2, 4]),
    "writes into parts of an open size": (filled, IMAGE),
    "six dimensions": (windows, ["batch", 2, 3, 16]),
}
