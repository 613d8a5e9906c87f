"""Activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

from stages.coreml.translations.nodes import argument, value


def gelu(context: Any, node: Any) -> None:
    """torch.gelu, exact or by tanh, wherever the capture put which."""
    mode = "TANH_APPROXIMATION" if value(argument(context, node, 1, "approximate")) == "tanh" else "EXACT"
    context.add(mb.gelu(x=argument(context, node, 0, "self"), mode=mode, name=node.name))


NAMES: Mapping[str, Callable[[Any, Any], None]] = {"gelu": gelu}
