"""What a translation asks of a node: its arguments by place or by name, as values or as MIL variables."""

from __future__ import annotations

from typing import Any

from coremltools.converters.mil.frontend.torch.ops import _get_inputs, _get_kwinputs
from coremltools.converters.mil.frontend.torch.utils import NUM_TO_DTYPE_STRING
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813 (as all of MIL's documentation has it)


def argument(context: Any, node: Any, place: int, name: str) -> Any:
    """An argument, a MIL variable, a list or None, wherever the capture put it: torch.export leaves defaults out."""
    given = _get_inputs(context, node)
    if place < len(given) and given[place] is not None:
        return given[place]
    return _get_kwinputs(context, node, name, default=[None])[0]


def value(given: Any) -> Any:
    """An argument that must be known now, as plain Python. Raises ValueError for one that is computed."""
    if isinstance(given, list | tuple):
        return [value(g) for g in given]
    if given is None or not hasattr(given, "val"):
        return given
    if given.val is None:
        raise ValueError(f"'{given.name}' depends on the inputs' sizes or values, and has to be known")
    return given.val.tolist() if hasattr(given.val, "tolist") else given.val


def sizes(given: Any) -> Any:
    """A shape: a list of whole numbers where all are known, else a MIL variable of one dimension."""
    try:
        return value(given)
    except ValueError:
        return mb.concat(values=given, axis=0) if isinstance(given, list) else given


def dtype(number: Any, unless: Any) -> str:
    """MIL's name of the type that torch numbers; that of a variable where none is given."""
    from coremltools.converters.mil.mil.types.type_mapping import builtin_to_string

    known = value(number)
    return str(builtin_to_string(unless.dtype)) if known is None else str(NUM_TO_DTYPE_STRING[known])


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
