"""One operation with its inputs, and torch's answer to the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

IOS15, IOS16, IOS17, IOS18 = 5, 6, 7, 8
SHAPES = [(), (1,), (7,), (3, 4), (2, 1, 5), (0, 3), (2, 3, 4, 5)]
PAIRS = [((3, 4), (3, 4)), ((3, 4), (4,)), ((2, 1, 5), (3, 1)), ((), (2, 2)), ((0, 3), (1, 3))]
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-30, 1.0], np.float32)


@dataclass(frozen=True)
class Case:
    """A case of one operation.

    Args:
        op: The MIL operation.
        inputs: Its inputs by their MIL names: arrays, strings, lists of these.
        answer: The outputs of torch, a tensor or a tuple.
        opset: The opset of the operation.
        close: How far a floating-point number may be off, relative to it and absolute.
    """

    op: str
    inputs: dict[str, Any]
    answer: Any
    opset: int = IOS18
    close: float = 2e-6


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def t(values: Any) -> torch.Tensor:
    """A tensor of its own memory."""
    return torch.from_numpy(np.array(values))


def i32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)
