"""Activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from coremltools.converters.mil.frontend.torch.ops import _get_inputs
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

from stages.coreml.translations.nodes import value


def gelu(context: Any, node: Any) -> None:
    """torch.gelu, exact or by tanh, from either capture.

    torch.export stores the mode as a string among the arguments; coremltools would take it for a variable's name.
    """
    x, *how = _get_inputs(context, node)
    (word,) = [value(how[0])] if how else (node.kwinputs or {}).get("approximate", ["none"])
    mode = "TANH_APPROXIMATION" if word == "tanh" else "EXACT"
    context.add(mb.gelu(x=x, mode=mode, name=node.name))


NAMES: Mapping[str, Callable[[Any, Any], None]] = {"gelu": gelu}
