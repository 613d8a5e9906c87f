"""What hands on the same values, or the same in another arrangement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from coremltools.converters.mil.frontend.torch import ops
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

from stages.coreml.translations.nodes import argument, static, value


def tensor_split(context: Any, node: Any) -> None:
    """torch.tensor_split of a known size: into so many parts, the first ones longer by one, or before given indices."""
    x = argument(context, node, 0, "self")
    asked = value(argument(context, node, 1, "sections" if "indices" not in (node.kwinputs or {}) else "indices"))
    axis = value(argument(context, node, 2, "dim")) or 0
    size = static(x, axis)
    if isinstance(asked, list):
        places = [min(max(i + size if i < 0 else i, 0), size) for i in asked]
        lengths = [max(b - a, 0) for a, b in zip([0, *places], [*places, size], strict=True)]
    else:
        lengths = [size // asked + (i < size % asked) for i in range(asked)]
    if 0 in lengths:
        raise ValueError(f"one of the parts of '{x.name}' would be empty, which MIL has no form for")
    context.add(mb.split(x=x, split_sizes=lengths, axis=axis, name=node.name), torch_name=node.name)


def positive(context: Any, node: Any) -> None:
    """torch.positive, the same values: a variable of its own, as each output is to be."""
    context.add(mb.identity(x=argument(context, node, 0, "self"), name=node.name))


NAMES: Mapping[str, Callable[[Any, Any], None]] = {
    "alias": ops.noop,
    "positive": positive,
    "swapaxes": ops.transpose,
    "tensor_split": tensor_split,
    # torch.export keeps the underscores that coremltools looks for without.
    "__and__": ops.bitwise_and,
    "__or__": ops.logical_or,
}
