"""Divisions, to whose divisor MIL's own operators add a little."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import types

from stages.coreml.translations.nodes import argument

# MIL's rsqrt has no form without an addition: the least that is no subnormal number.
LEAST = float(np.finfo(np.float32).tiny)


def reciprocal(context: Any, node: Any) -> None:
    """torch.reciprocal, which a captured `1 / x` is. MIL's inverse would be 1 / (x + 1e-4)."""
    context.add(mb.real_div(x=np.float32(1), y=_floating(argument(context, node, 0, "self")), name=node.name))


def rsqrt(context: Any, node: Any) -> None:
    """torch.rsqrt. MIL's own adds 1e-12 unless it is told otherwise."""
    context.add(mb.rsqrt(x=_floating(argument(context, node, 0, "self")), epsilon=LEAST, name=node.name))


def _floating(x: Any) -> Any:
    return x if types.is_float(x.dtype) else mb.cast(x=x, dtype="fp32")


NAMES: Mapping[str, Callable[[Any, Any], None]] = {"reciprocal": reciprocal, "rsqrt": rsqrt}
