"""A module's outputs by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.errors import StageError, listed


def named(returned: Any, names: Sequence[str]) -> dict[str, Any]:
    """Tensors by the names that the model's YAML gives them, in order.

    Args:
        returned: What the module returned: a tensor, or a flat tuple or list of tensors.
        names: One for each.

    Raises:
        StageError: When there are more or fewer outputs than names, or an output is no tensor.
    """
    import torch

    flat = list(returned) if isinstance(returned, (tuple, list)) else [returned]
    kinds = [type(v).__name__ for v in flat if not torch.is_tensor(v)]
    if kinds:
        raise StageError(f"the model returns {listed(kinds)}", allowed="a tensor, or a flat tuple or list of tensors")
    if len(flat) != len(names):
        raise StageError(
            f"outputs names {len(names)} ({listed(names)}), the model returns {len(flat)}",
            command=f"'model.outputs=[{', '.join(f'output_{i}' for i in range(len(flat)))}]'",
        )
    return dict(zip(names, flat, strict=True))
