"""Linear equations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

from stages.coreml.translations.nodes import argument, static, value


def solve_triangular(context: Any, node: Any) -> None:
    """torch.linalg.solve_triangular of a matrix of known size.

    The matrix is I - N, up to the scale of its rows, and N to the power of its size is 0. So its inverse is the product
    of I + N, I + N², I + N⁴, ….
    """
    a, b = argument(context, node, 0, "self"), argument(context, node, 1, "B")
    upper, left, of_ones = (
        value(argument(context, node, i, n)) for i, n in ((2, "upper"), (3, "left"), (4, "unitriangular"))
    )
    size = static(a, -1)
    corner = np.triu(np.ones((size, size), "f4"), 1)
    beside = mb.mul(x=a, y=corner if upper else corner.T.copy())
    unit = np.eye(size, dtype="f4")
    if not of_ones:
        scale = mb.reduce_sum(x=mb.mul(x=a, y=unit), axes=[-1], keep_dims=True)
        beside = mb.real_div(x=beside, y=scale)
    power = mb.mul(x=beside, y=-1.0)
    inverse = mb.add(x=power, y=unit)
    for _ in range(math.ceil(math.log2(size)) - 1 if size > 1 else 0):
        power = mb.matmul(x=power, y=power)
        inverse = mb.matmul(x=inverse, y=mb.add(x=power, y=unit))
    if left is False:
        product = mb.matmul(x=b, y=inverse)
        scaled = product if of_ones else mb.real_div(x=product, y=mb.reshape(x=scale, shape=_turned(scale)))
    else:
        scaled = mb.matmul(x=inverse, y=b if of_ones else mb.real_div(x=b, y=scale))
    context.add(mb.identity(x=scaled, name=node.name))


def _turned(column: Any) -> Any:
    """The shape of a column's row."""
    sizes = [mb.gather(x=mb.shape(x=column), indices=[i], axis=0) for i in range(column.rank)]
    return mb.concat(values=[*sizes[:-2], sizes[-1], sizes[-2]], axis=0)


NAMES: Mapping[str, Callable[[Any, Any], None]] = {"linalg_solve_triangular": solve_triangular}
