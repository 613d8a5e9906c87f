"""Activations, and functions of one number."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from coremltools.converters.mil.frontend.torch.ops import _get_inputs
from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY as REGISTRY
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import types

from stages.coreml.translations import OF_ONE_NUMBER
from stages.coreml.translations.nodes import argument, value

_THEIRS: Mapping[str, Callable[[Any, Any], None]] = dict(REGISTRY.name_to_func_mapping)  # before ours are registered


def gelu(context: Any, node: Any) -> None:
    """torch.gelu, exact or by tanh, from either capture.

    torch.export stores the mode as a string among the arguments; coremltools would take it for a variable's name.
    """
    x, *how = _get_inputs(context, node)
    (word,) = [value(how[0])] if how else (node.kwinputs or {}).get("approximate", ["none"])
    mode = "TANH_APPROXIMATION" if word == "tanh" else "EXACT"
    context.add(mb.gelu(x=x, mode=mode, name=node.name))


def _of_floats(name: str) -> Callable[[Any, Any], None]:
    """coremltools' own translation of a function of one number; whole numbers become floating-point numbers first."""
    translation = _THEIRS[name]

    def translated(context: Any, node: Any) -> None:
        x = argument(context, node, 0, "self")
        if types.is_float(x.dtype):
            translation(context, node)
            return
        of_floats = copy.copy(node)
        of_floats.inputs = [f"{node.name}_of", *node.inputs[1:]]
        context.add(mb.cast(x=x, dtype="fp32"), torch_name=of_floats.inputs[0])
        translation(context, of_floats)

    return translated


NAMES: Mapping[str, Callable[[Any, Any], None]] = {"gelu": gelu, **{name: _of_floats(name) for name in OF_ONE_NUMBER}}
