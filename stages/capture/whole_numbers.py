"""Decomposes operators of whole numbers that exporters compute in floating point, or as numbers without a sign.

torch.onnx writes torch.div(a, b, rounding_mode="floor") of whole numbers as a division in float32, which is wrong from
2**24 on, and a shift to the right as one of unsigned numbers, which OpenVINO computes in 32 bits.
"""

from __future__ import annotations

from typing import Any

WIDEST = 63  # bits of an int64 besides its sign


def divided(x: Any, other: Any, *, rounding_mode: str | None) -> Any:
    """torch.div with a rounding mode."""
    import torch

    if rounding_mode is None or not (_is_whole(x) and _is_whole(other)):
        return NotImplemented
    remainder = torch.fmod(x, other) if rounding_mode == "trunc" else torch.remainder(x, other)
    return torch.floor_divide(x - remainder, other)


def shifted_right(x: Any, bits: Any) -> Any:
    """A shift by a number of bits: a division by a power of two that rounds down."""
    import torch

    if not isinstance(bits, int) or not 0 <= bits < WIDEST or x.dtype is torch.uint8:
        return NotImplemented
    return torch.floor_divide(x, 2**bits)


def _is_whole(value: Any) -> bool:
    import torch

    if not torch.is_tensor(value):
        return isinstance(value, int)
    return not (value.dtype.is_floating_point or value.dtype.is_complex or value.dtype is torch.bool)
