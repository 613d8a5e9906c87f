"""torch's optimizer for ONNX graphs, kept from changing what a graph computes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock


@contextlib.contextmanager
def exact_constants() -> Iterator[None]:
    """Has its rewrite rules find a constant where that constant is, and not one that is near it.

    By itself it takes what is within 1e-8 of zero for zero and within 1e-5 of one for one, so `x / (norm + 1e-8)` loses
    its addition as "x + 0", and answers NaN to a row of zeros (onnxscript 0.7.2, rewriter/_pattern_ir.py: Constant).
    """
    from onnxscript.rewriter._matcher import SimplePatternMatcher

    nearly = SimplePatternMatcher._match_constant

    def exactly(self: Any, pattern: Any, value: Any) -> bool:
        if not nearly(self, pattern, value):
            return False
        return _is(value.const_value.numpy(), pattern.value) or bool(self.fail(f"{value.name} is not quite that"))

    with mock.patch.object(SimplePatternMatcher, "_match_constant", exactly):
        yield


def _is(found: Any, wanted: Any) -> bool:
    """Whether numbers are those that are wanted, as their own type has them: 0.1 of float32 is no 0.1 of Python's."""
    import numpy as np

    return np.array_equal(found, np.asarray(wanted, found.dtype))
