"""Rewrites parts of models while they are captured: the same results, in operators that converters get right.

Each function here replaces the one that it names, and the checks compare the result with the original module.
torch.export cannot branch on the number of boxes, so parts of torchvision's detectors are rewritten without sizes that
depend on data. Attention's rows without a key are set to zeros. No format has log1p or expm1: all write log(1 + x) and
exp(x) - 1, which lose the digits of a small x.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import itertools
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

# For each kind of pooling: what it is over all of its input, and torch's arguments after the kernel's size, in order.
POOLS = {
    "avg": ("mean", ("stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")),
    "max": ("amax", ("stride", "padding", "dilation", "ceil_mode", "return_indices")),
}
UNLESS_SAID = {"padding": 0, "dilation": 1, "return_indices": False, "divisor_override": None}
# The number of dimensions of attention that every exporter supports: batch, heads, places, features.
ATTENDED = 4


@contextlib.contextmanager
def attention() -> Iterator[None]:
    """During one capture, scaled_dot_product_attention explicitly returns 0 for rows that are masked entirely.

    PyTorch does so. The dynamo exporter's translation has the mean of the values there, OpenVINO's and Core ML's have
    NaN. For heads that share keys the keys are repeated, since Core ML has no sharing. Tensors with other than four
    dimensions get four, since the exporters support no others. The function is replaced in every module that has it
    under its own name.
    """
    from torch.nn import functional

    name, plain = "scaled_dot_product_attention", functional.scaled_dot_product_attention
    keys: dict[int, tuple[Any, Any]] = {}  # layers share a mask: its empty rows are computed once

    def without_a_key(mask: Any) -> Any:
        if id(mask) not in keys:
            visible = mask > float("-inf") if mask.dtype.is_floating_point else mask
            keys[id(mask)] = mask, visible.logical_not().all(-1, keepdim=True)
        return keys[id(mask)][1]

    @functools.wraps(plain)
    def attending(query: Any, key: Any, value: Any, attn_mask: Any = None, *args: Any, **kwargs: Any) -> Any:
        if kwargs.pop("enable_gqa", False):
            key, value = (_repeated(shared, query.size(-3) // shared.size(-3)) for shared in (key, value))
        is_known = {t.dim() for t in (query, key, value)} == {ATTENDED}
        attend = plain if is_known else functools.partial(_in_four, plain)
        attended = attend(query, key, value, attn_mask, *args, **kwargs)
        return attended if attn_mask is None else attended.masked_fill(without_a_key(attn_mask), 0.0)

    with contextlib.ExitStack() as replaced:
        modules = [m for m in sys.modules.values() if isinstance(m, types.ModuleType)]
        for module in [m for m in modules if vars(m).get(name) is plain]:
            replaced.enter_context(mock.patch.object(module, name, attending))
        yield


@contextlib.contextmanager
def without_gradients() -> Iterator[None]:
    """During one trace, a torch.autograd.Function is the function that its forward is.

    A trace has a call of Python in its place, which no file can keep.
    """
    from torch.autograd.function import Function, FunctionCtx

    def forward(cls: Any, *args: Any) -> Any:
        if cls.setup_context is not Function.setup_context:
            return cls.forward(*args)
        context = FunctionCtx()
        context.needs_input_grad = (False,) * len(args)  # type: ignore[attr-defined]
        return cls.forward(context, *args)

    with mock.patch.object(Function, "apply", classmethod(forward)):
        yield


def _in_four(plain: Any, query: Any, key: Any, value: Any, attn_mask: Any, *args: Any, **kwargs: Any) -> Any:
    """Attention over tensors with other than four dimensions: leading ones are merged, and missing ones are added."""
    import torch

    parts = [query, key, value]
    # Broadcasting, since a comparison of sizes would be a branch in a trace.
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
    attended = plain(*parts, attn_mask, *args, **kwargs)
    return attended.reshape(*lead, *attended.shape[-2:])


def _repeated(heads: Any, times: int) -> Any:
    """Each head so many times, one after the other."""
    unchanged = [-1] * (heads.dim() - 2)
    return heads.unsqueeze(-3).expand(*unchanged, times, -1, -1).flatten(-4, -3)


@contextlib.contextmanager
def joining() -> Iterator[None]:
    """During one capture, torch.cat does not get empty tensors of one dimension among tensors of more dimensions.

    torch ignores them, and caches of transformers start with one; converters see a tensor of another rank.
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
def counting(module: Any) -> Iterator[None]:
    """During one capture, len(x) of a tensor in the modules that define a model's classes is its first size.

    Python wants a number of len, so that a capture would fix the size at the example's; x.shape[0] stays open.
    """
    import torch

    def length(value: Any) -> Any:
        return value.shape[0] if isinstance(value, torch.Tensor) and value.dim() else builtins.len(value)

    names = {type(part).__module__ for part in module.modules()}
    places = [sys.modules[name] for name in sorted(names & sys.modules.keys()) if not name.startswith("torch.")]
    with contextlib.ExitStack() as replaced:
        for place in [p for p in places if "len" not in vars(p)]:
            replaced.enter_context(mock.patch.object(place, "len", length, create=True))
        yield


@contextlib.contextmanager
def pooling() -> Iterator[None]:
    """During one capture, pools are captured that torch.export or OpenVINO fails at.

    A window larger than its whole input, which torch cuts to the input with ceil_mode, as transformers' EfficientNet
    has it, is the mean, or the largest, of all of it: OpenVINO refuses such a window. A trace, which does not know what
    sizes are fixed, keeps it. And torch.export fixes a length under max_pool1d.
    """
    from torch.nn import functional

    with contextlib.ExitStack() as replaced:
        for kind, dims in itertools.product(POOLS, (1, 2, 3)):
            name = f"{kind}_pool{dims}d"
            replaced.enter_context(mock.patch.object(functional, name, _pool(getattr(functional, name), kind, dims)))
        yield


def _pool(plain: Any, kind: str, dims: int) -> Any:
    """A pooling function of torch, which is a reduction where its window is larger than its input."""
    import torch
    from torch.nn import functional

    reduction, arguments = POOLS[kind]

    @functools.wraps(plain)
    def pool(input: Any, kernel_size: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A002 (as torch has it)
        options = dict(zip(arguments, args, strict=False)) | kwargs
        sizes, kernel = tuple(input.shape[-dims:]), _each(kernel_size, dims)
        if kind == "max" and dims == 1 and isinstance(sizes[0], torch.SymInt) and not options.get("return_indices"):
            return _in_two(functional.max_pool2d, input, kernel, options)
        is_plain = all(set(_each(options.get(n, usual), dims)) == {usual} for n, usual in UNLESS_SAID.items())
        is_known = all(type(size) is int for size in sizes)
        if not (options.get("ceil_mode") and is_plain and is_known) or kernel == sizes:
            return plain(input, kernel_size, *args, **kwargs)
        if any(k < size for k, size in zip(kernel, sizes, strict=True)):
            return plain(input, kernel_size, *args, **kwargs)
        return getattr(input, reduction)(tuple(range(-dims, 0)), keepdim=True)

    return pool


def _in_two(pool: Any, x: Any, kernel: tuple[int, ...], options: Mapping[str, Any]) -> Any:
    """The largest of windows along one open dimension, by pooling over two: torch.export fixes the length for one."""
    stride = options.get("stride") or kernel  # none given: windows side by side
    pairs = ((1, stride), (0, options.get("padding", 0)), (1, options.get("dilation", 1)))
    steps = [(one, *_each(value, 1)) for one, value in pairs]
    return pool(x.unsqueeze(-2), (1, *kernel), *steps, options.get("ceil_mode", False)).squeeze(-2)


def _each(value: Any, dims: int) -> tuple[int, ...]:
    """A number for each dimension, where torch takes one for all."""
    return tuple(value) if isinstance(value, Sequence) else (value,) * dims


@contextlib.contextmanager
def unmasked() -> Iterator[None]:
    """During one capture, attention in both directions has no mask where a transformers model was given none.

    The library leaves it out while it runs, and makes one of ones while it is exported; Autoformer cannot add that.
    """
    masking = sys.modules.get("transformers.masking_utils")
    if masking is None:
        yield
        return
    plain = masking._ignore_bidirectional_mask_sdpa

    @functools.wraps(plain)
    def leaves_out(padding_mask: Any, kv_length: Any, local_attention_size: Any = None) -> Any:
        if padding_mask is None and local_attention_size is None:
            return True
        return plain(padding_mask, kv_length, local_attention_size)

    with mock.patch.object(masking, plain.__name__, leaves_out):
        yield


@contextlib.contextmanager
def near_one() -> Iterator[None]:
    """During one capture, log1p and expm1 are computed by formulas that are precise for small numbers too."""
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
    """tanh(x / 2) (exp(x) + 1), which is equal."""
    import torch

    x = input if input.is_floating_point() else input.to(torch.get_default_dtype())
    return torch.tanh(x / 2) * (torch.exp(x) + 1)


@contextlib.contextmanager
def scanning() -> Iterator[None]:
    """During one capture by torch.export, transformers' recurrences take any number of tokens."""
    from stages.capture import selective_scan  # which imports torch

    functions = {selective_scan.NAME: selective_scan.from_zeros, selective_scan.WEIGHTED: selective_scan.weighted}
    with contextlib.ExitStack() as replaced:
        for module in [m for n, m in sys.modules.items() if n.startswith("transformers.models.")]:
            for name in functions.keys() & vars(module).keys():
                replaced.enter_context(mock.patch.object(module, name, functions[name]))
            if (gated := vars(module).get(selective_scan.CLASS)) is not None:
                replaced.enter_context(mock.patch.object(gated, selective_scan.GATED, selective_scan.gated))
        yield
