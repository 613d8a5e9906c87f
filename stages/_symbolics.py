"""What torch's TorchScript exporter lacks, registered while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

# torch's own symbolic for unflatten begins here.
UNFLATTEN_SINCE = 13


@contextlib.contextmanager
def registered(opset: int) -> Iterator[None]:
    """Adds ours for one export.

    aten::unflatten: torch's own forgets the rank of its result when it exports a traced module (a module that it
    traces itself still has every shape), and the transpose after it, as in nn.MultiheadAttention, then fails.
    """
    import torch

    if opset < UNFLATTEN_SINCE:
        yield
        return
    torch.onnx.register_custom_op_symbolic("aten::unflatten", _unflatten, opset)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.onnx.unregister_custom_op_symbolic("aten::unflatten", opset)  # type: ignore[attr-defined]


def _unflatten(g: Any, source: Any, dim: Any, sizes: Any) -> Any:
    import torch
    from torch.onnx import symbolic_helper as helper

    def constant(*values: int) -> Any:
        return g.op("Constant", value_t=torch.tensor(values, dtype=torch.int64))

    rank = int(helper._get_tensor_rank(source) or 0)
    axis = helper._maybe_get_const(dim, "i") % rank
    shape = g.op("Shape", source)
    before = g.op("Slice", shape, constant(0), constant(axis))
    after = g.op("Slice", shape, constant(axis + 1), constant(rank))
    result = g.op("Reshape", source, g.op("Concat", before, sizes, after, axis_i=0))
    parts = helper._unpack_list(sizes) if helper._is_packed_list(sizes) else helper._maybe_get_const(sizes, "is")
    result.setType(source.type().with_sizes([None] * (rank - 1 + len(parts))))
    return result
