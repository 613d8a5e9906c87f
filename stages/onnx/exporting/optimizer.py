"""Keeps torch's optimizer for ONNX graphs from changing what a graph computes, and from taking most of the export."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock


@contextlib.contextmanager
def exact_constants() -> Iterator[None]:
    """Makes its rewrite rules match a constant exactly.

    By default a number within 1e-8 of zero matches 0, and one within 1e-5 of one matches 1. So `x / (norm + 1e-8)`
    loses its addition as "x + 0", and a row of zeros gives NaN (onnxscript 0.7.2, rewriter/_pattern_ir.py: Constant).
    """
    from onnxscript.rewriter._matcher import SimplePatternMatcher

    nearly = SimplePatternMatcher._match_constant

    def exactly(self: Any, pattern: Any, value: Any) -> bool:
        if not nearly(self, pattern, value):
            return False
        return _equal(value.const_value.numpy(), pattern.value) or bool(self.fail(f"{value.name} is not quite that"))

    with mock.patch.object(SimplePatternMatcher, "_match_constant", exactly):
        yield


@contextlib.contextmanager
def operators_first() -> Iterator[None]:
    """Makes its rewrite rules compare a node's operator before all else, which changes no result.

    A rule of several outputs lists all nodes of the graph, and combines them, before it looks at the node in question:
    time that grows with the square of the graph (onnxscript 0.7.2, rewriter/_matcher.py: SimplePatternMatcher.match).
    """
    from onnxscript.rewriter._basics import MatchResult
    from onnxscript.rewriter._matcher import SimplePatternMatcher

    match = SimplePatternMatcher.match

    def same_operator_first(self: Any, model: Any, graph: Any, node: Any, **options: Any) -> Any:
        wanted = self.pattern.output_nodes[0]
        if wanted.op.matches(node.op_type) and wanted.domain.matches(node.domain):
            return match(self, model, graph, node, **options)
        return MatchResult().fail(f"{node.op_type} is another operator than {wanted.op_type}", node)

    with mock.patch.object(SimplePatternMatcher, "match", same_operator_first):
        yield


def _equal(values: Any, constant: Any) -> bool:
    """Whether values equal a constant once it is rounded to their type: float32's 0.1 is not Python's 0.1."""
    import numpy as np

    return np.array_equal(values, np.asarray(constant, values.dtype))
