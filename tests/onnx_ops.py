"""A user's package: an operator, a model that calls it, and translations to ONNX for both exporters."""

from __future__ import annotations

import onnxscript
import torch
from onnxscript import opset18 as op
from torch import nn


@torch.library.custom_op("drydock_test::scale_add", mutates_args=())
def scale_add(x: torch.Tensor, y: torch.Tensor, k: float) -> torch.Tensor:
    return x * k + y


@scale_add.register_fake
def _(x: torch.Tensor, y: torch.Tensor, k: float) -> torch.Tensor:
    return torch.empty_like(x)


class ScaleAdd(nn.Module):
    """Calls the operator twice and, if set, an operator of torch that no exporter knows."""

    def __init__(self, bessel: bool = False) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)
        self.bessel = bessel

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = scale_add(x, self.head(x), 3.0)
        y = scale_add(y, y, 0.5)
        return torch.special.bessel_j0(y) if self.bessel else y


@onnxscript.script()
def scripted(x: onnxscript.FLOAT[...], y: onnxscript.FLOAT[...], k: float) -> onnxscript.FLOAT[...]:
    return op.Add(op.Mul(x, op.Constant(value_float=k)), y)


@onnxscript.script()
def unannotated(x, y, k: float):
    return op.Add(op.Mul(x, op.Constant(value_float=k)), y)


def plain(x, y, k: float):
    return op.Add(op.Mul(x, op.Constant(value_float=k)), y)


def symbolic(g, x, y, k):
    return g.op("Add", g.op("Mul", x, g.op("Cast", k, to_i=1)), y).setType(x.type())


def symbolic_left_custom(g, x, y, k):
    return g.op("drydock.test::ScaleAdd", x, y, g.op("Cast", k, to_i=1)).setType(x.type())


def raises(x, y, k: float):
    raise ValueError("not today")


def symbolic_raises(g, x, y, k):
    raise ValueError("not today")


class LeftCustom(nn.Module):
    """Exports to a node that only a runtime with a kernel for it can run."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.onnx.ops.symbolic("drydock.test::ScaleAdd", (x,), {}, dtype=x.dtype, shape=x.shape, version=1)


def absolute(x):
    return op.Max(op.Neg(x), x)
