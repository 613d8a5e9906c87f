"""MIL operations, one function each, in families; importing a family registers its functions in the table."""

from stages.coreml.mil.ops import (  # noqa: F401  # noqa: F401
    activation,
    constexpr,
    convolution,
    elementwise,
    gathering,
    lists,
    movement,
    normalization,
    pooling,
    products,
    quantization,
    recurrent,
    reduction,
    resampling,
    resizing,
    selection,
    shape,
)
from stages.coreml.mil.ops.table import TABLE, find

__all__ = ["TABLE", "find"]
