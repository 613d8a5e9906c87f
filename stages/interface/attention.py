"""Attention as a model's code has it: without torch's fast path, which gives other answers at padded positions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def slow() -> Iterator[None]:
    """Without attention's fast path, one fused operator that no exporter knows, for references and captures alike."""
    import torch

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
