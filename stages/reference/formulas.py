"""The eager model with other formulas of elementary functions: what float32 leaves open beside the order of summation.

Near an end of its range a function can be computed to the last bit of its value, as PyTorch does, or to the last bit of
the 1 in its formula, as runtimes do: a sigmoid of 0.001 is then off by 3e-8. Measured at -7, in roundings of the value:
onnxruntime 1.31 errs by 120 in sigmoid, OpenVINO 2026.4 by 0.3; in softplus they err by 0.3 and 1,469.

The error is added at random rather than computed by such a formula: an output of one number may be spared by one
rounding, and then says nothing of the next. Source of the method: Parker, Monte Carlo Arithmetic (UCLA, 1997).
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

OF_ONE, OF_HALF = 2.0**-24, 2.0**-25  # the roundings of numbers from 1 to 2, and from 0.5 to 1, in float32
# By torch's name of an operator: how far another formula is off.
OFF = {"sigmoid": OF_HALF, "silu": OF_HALF, "softplus": OF_ONE}


def differ(operators: Collection[str]) -> bool:
    """Whether any of these operators, by torch's names, has another formula."""
    return any(name.removesuffix("_") in OFF for name in operators)


@contextlib.contextmanager
def other(seed: int = 0) -> Iterator[None]:
    """Adds the error of another formula to these functions of float32 numbers within the block."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    generator = torch.Generator().manual_seed(seed)

    class Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
        supports_higher_order_operators = True

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            name = getattr(getattr(func, "overloadpacket", None), "__name__", "").removesuffix("_")
            off = OFF.get(name)
            if off is None or args[0].dtype is not torch.float32:
                return func(*args, **kwargs)
            operand = args[0].clone() if name == "silu" else 1.0  # x * sigmoid(x), which may replace x
            result = func(*args, **kwargs)
            signs = torch.randint(0, 2, result.shape, generator=generator).mul(2).sub(1)
            return result.add_(signs * off * operand)

    with Mode():  # type: ignore[no-untyped-call]
        yield
