"""Arithmetic of sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

from stages.coreml.translations.nodes import argument


def floordiv(context: Any, node: Any) -> None:
    """Python's // of two sizes; the result is an integer."""
    context.add(mb.floor_div(x=argument(context, node, 0, "a"), y=argument(context, node, 1, "b"), name=node.name))


NAMES: Mapping[str, Callable[[Any, Any], None]] = {"floordiv": floordiv}
