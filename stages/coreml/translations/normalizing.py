"""Normalisation over groups and instances, and by the root of the mean square."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from coremltools.converters.mil.frontend.torch import ops
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.types.symbolic import any_symbolic, is_symbolic

from stages.coreml.translations.nodes import argument, value


def group_norm(context: Any, node: Any) -> None:
    """torch.nn.functional.group_norm of dynamic sizes: normalises each group as a row, then scales each channel."""
    x = argument(context, node, 0, "input")
    if not any_symbolic(x.shape):
        ops.group_norm(context, node)
        return
    groups = value(argument(context, node, 1, "num_groups"))
    epsilon = value(argument(context, node, 4, "eps"))
    shape = mb.shape(x=x)
    if not any(map(is_symbolic, x.shape[1:])):
        rows: Any = [-1, groups, math.prod(x.shape[1:]) // groups]
    else:
        rows = mb.concat(values=[mb.slice_by_index(x=shape, begin=[0], end=[1]), [groups, -1]], axis=0)
    normal = mb.layer_norm(x=mb.reshape(x=x, shape=rows), axes=[2], epsilon=1e-5 if epsilon is None else epsilon)
    result = mb.reshape(x=normal, shape=shape)
    for combine, factor in (
        (mb.mul, argument(context, node, 2, "weight")),
        (mb.add, argument(context, node, 3, "bias")),
    ):
        if factor is not None:
            result = combine(x=result, y=mb.reshape(x=factor, shape=[1, -1, *[1] * (x.rank - 2)]))
    context.add(result, node.name)


def rms_norm(context: Any, node: Any) -> None:
    """torch.nn.functional.rms_norm: x / sqrt(mean(x²) + ε).

    x is divided by the row's largest magnitude, and ε by its square, so that no square exceeds float16. For a row
    below the root of ε the divisor is that root, so that a row of zeros is not 0/0.
    """
    x, weight = argument(context, node, 0, "input"), argument(context, node, 2, "weight")
    axes = list(range(-len(value(argument(context, node, 1, "normalized_shape"))), 0))
    eps = value(argument(context, node, 3, "eps"))
    epsilon = float(np.finfo(np.float16 if x.dtype == types.fp16 else np.float32).eps) if eps is None else eps
    largest = mb.reduce_max(x=mb.abs(x=x), axes=axes, keep_dims=True)
    unit = mb.maximum(x=largest, y=np.float32(math.sqrt(epsilon)))
    scaled = mb.real_div(x=x, y=unit)
    share = mb.square(x=mb.real_div(x=np.float32(math.sqrt(epsilon)), y=unit))
    mean = mb.reduce_mean(x=mb.square(x=scaled), axes=axes, keep_dims=True)
    result = mb.real_div(x=scaled, y=mb.sqrt(x=mb.add(x=mean, y=share)))
    context.add(result if weight is None else mb.mul(x=result, y=weight), node.name)


def instance_norm(context: Any, node: Any) -> None:
    """torch.nn.functional.instance_norm; with running statistics, where they are used, as a batch norm."""
    names = ("input", "weight", "bias", "running_mean", "running_var", "use_input_stats", "momentum", "eps")
    x, weight, bias, mean, variance, own, _, epsilon = (
        argument(context, node, i, name) for i, name in enumerate(names)
    )
    if value(own) or mean is None:
        ops.instance_norm(context, node)
        return
    statistics = {"mean": mean, "variance": variance, "epsilon": value(epsilon)}
    context.add(mb.batch_norm(x=x, **statistics, gamma=weight, beta=bias, name=node.name))


NAMES: Mapping[str, Callable[[Any, Any], None]] = {
    "group_norm": group_norm,
    "instance_norm": instance_norm,
    "rms_norm": rms_norm,
}
