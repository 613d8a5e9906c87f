"""Translations to ONNX, for torch's exporter, of operators of complex numbers that it lacks.

It writes complex numbers as pairs: a tensor has a further dimension at its end, of two, the real and the imaginary
part. So a dimension that is counted from the end is one further from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnxscript import INT64
from onnxscript.function_libs.torch_lib.ops import core as torchs
from onnxscript.function_libs.torch_lib.tensor_typing import TTensor
from onnxscript.onnx_opset import opset18 as op

PARTS = 2


def unsqueeze(self: TTensor, dim: int) -> TTensor:
    return op.Unsqueeze(self, [dim if dim >= 0 else dim + len(self.shape)])


def squeeze(self: TTensor, dim: Sequence[int]) -> TTensor:
    return op.Squeeze(self, [_from_start(self, d) for d in dim])


def select(self: TTensor, dim: int, index: int) -> TTensor:
    return op.Gather(self, index, axis=_from_start(self, dim))


def index_select(self: TTensor, dim: int, index: INT64) -> TTensor:
    return torchs.aten_index_select(self, _from_start(self, dim), index)


def expand(self: TTensor, size: Sequence[INT64], implicit: bool = False) -> TTensor:
    return torchs.aten_expand(self, [*size, PARTS], implicit)


def _from_start(self: Any, dim: int) -> int:
    return dim if dim >= 0 else dim + len(self.shape) - 1


def translations() -> dict[Any, Any]:
    """Overload to function."""
    import torch

    aten = torch.ops.aten
    return {
        aten.unsqueeze.default: unsqueeze,
        aten.squeeze.dims: squeeze,
        aten.select.int: select,
        aten.index_select.default: index_select,
        aten.expand.default: expand,
        # Along the first dimensions, where nothing is different.
        aten.index.Tensor: torchs.aten_index,
    }
