"""A node's arguments, by place or by name, as Python values or as MIL variables."""

from __future__ import annotations

from typing import Any

from coremltools.converters.mil.frontend.torch.ops import _get_inputs, _get_kwinputs
from coremltools.converters.mil.frontend.torch.utils import NUM_TO_DTYPE_STRING
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813 (as all of MIL's documentation has it)


def argument(context: Any, node: Any, place: int, name: str) -> Any:
    """An argument, by place or by name: a MIL variable, a list, or None (torch.export omits defaults)."""
    inputs = _get_inputs(context, node)
    if place < len(inputs) and inputs[place] is not None:
        return inputs[place]
    return _get_kwinputs(context, node, name, default=[None])[0]


def value(bound: Any) -> Any:
    """A constant argument, as plain Python. Raises ValueError for a computed one."""
    if isinstance(bound, list | tuple):
        return [value(g) for g in bound]
    if bound is None or not hasattr(bound, "val"):
        return bound
    if bound.val is None:
        raise ValueError(f"'{bound.name}' depends on the inputs' sizes or values, and has to be known")
    return bound.val.tolist() if hasattr(bound.val, "tolist") else bound.val


def sizes(bound: Any) -> Any:
    """A shape: a list of integers where all are constant, else a MIL variable of one dimension."""
    try:
        return value(bound)
    except ValueError:
        return mb.concat(values=bound, axis=0) if isinstance(bound, list) else bound


def dtype(number: Any, unless: Any) -> str:
    """MIL's name for torch's number of a type; for None the type of the variable `unless`."""
    from coremltools.converters.mil.mil.types.type_mapping import builtin_to_string

    type_number = value(number)
    return str(builtin_to_string(unless.dtype)) if type_number is None else str(NUM_TO_DTYPE_STRING[type_number])


def static(x: Any, axis: int) -> int:
    """The size of a dimension. Raises ValueError for a dynamic one."""
    from coremltools.converters.mil.mil.types.symbolic import is_symbolic

    if is_symbolic(x.shape[axis]):
        raise ValueError(f"dimension {axis} of '{x.name}' is dynamic, and has to be known")
    return int(x.shape[axis])


def along(x: Any, matrix: Any, axis: int) -> Any:
    """The product of a matrix, [new size, size], with a variable along one of its axes."""
    order = [i for i in range(x.rank) if i != axis % x.rank]
    turned = mb.transpose(x=x, perm=[*order, axis % x.rank]) if order[-1] > axis % x.rank else x
    product = mb.matmul(x=turned, y=matrix.T.copy())
    if turned is x:
        return product
    back = [[*order, axis % x.rank].index(i) for i in range(x.rank)]
    return mb.transpose(x=product, perm=back)
