"""The model's answers in float64, where they can be computed: its own error in float32 is measured against them."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from stages.interface import call as forward_call
from stages.portable.vendor_errors import first_line
from stages.reference.eager_model import computing

MOST_BYTES = 2**30  # of weights: the float64 copy of them takes twice as much
# With more threads than cores, products of matrices in float64 take fifty times as long.
ALONE = 1
MOST_ELEMENTS = 2**18  # of all inputs together: a convolution takes four times as long in float64


class ExactModel:
    """A copy of a module in float64, which answers only if nothing inside it computes in a smaller type.

    Attributes:
        why_not: Why there are no answers; empty where there are.
    """

    def __init__(self, module: Any, call: Mapping[str, Any] | None) -> None:
        self._call = call
        self.why_not, self._module, self._elements_left = "", None, MOST_ELEMENTS
        size = sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))
        if size > MOST_BYTES:
            self.why_not = f"its weights take {size / 2**30:.1f} GiB, and a copy in float64 is made up to 1 GiB"
            return
        try:
            self._module = copy.deepcopy(module).double()
        except Exception as e:  # a module may hold anything
            self.why_not = f"it cannot be copied: {first_line(e)}"

    def answers(self, arrays: Mapping[str, Any], take: Callable[[Any], Mapping[str, Any]]) -> dict[str, Any]:
        """Floating-point outputs by name; none where they cannot be computed, or not in reasonable time.

        Args:
            arrays: Inputs by name.
            take: Turns what forward returns into outputs by name.
        """
        import numpy as np
        import torch

        size = sum(v.size for v in arrays.values())
        if self._module is None or size > self._elements_left:
            return {}
        self._elements_left -= size
        wide = {n: v.astype("f8") if v.dtype.kind == "f" else v.copy() for n, v in arrays.items()}
        args, kwargs = forward_call.arguments(self._call, {n: torch.from_numpy(np.asarray(v)) for n, v in wide.items()})
        try:
            with computing(ALONE), _in_float64() as narrow, torch.no_grad():
                outputs = take(self._module(*args, **kwargs))
        except Exception as e:  # a model raises anything in a type that it was not written for
            self._give_up(f"it cannot be run in it: {first_line(e)}")
            return {}
        if narrow:
            self._give_up(f"{narrow[0]} inside it gives less")
            return {}
        return {n: v for n, v in outputs.items() if v.dtype == np.float64}

    def _give_up(self, why: str) -> None:
        self.why_not, self._module = why, None


@contextlib.contextmanager
def _in_float64() -> Iterator[list[str]]:
    """Makes operators that are called with float32 compute in float64, and collects those that still give less.

    In inference mode it would not see the parts that an operator is made of.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    less = (torch.float32, torch.float16, torch.bfloat16, torch.complex64)
    narrow: list[str] = []

    class Widen(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            widened = {n: torch.float64 if v is torch.float32 else v for n, v in (kwargs or {}).items()}
            result = func(*(torch.float64 if v is torch.float32 else v for v in args), **widened)
            if not narrow and any(torch.is_tensor(t) and t.dtype in less for t in tree_leaves(result)):
                narrow.append(func.overloadpacket.__name__)
            return result

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with Widen():  # type: ignore[no-untyped-call]
            yield narrow
    finally:
        torch.set_default_dtype(before)
