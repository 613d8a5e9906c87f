"""The model's answers in float64, where they can be computed: its own error in float32 is measured against them."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from stages.interface import call as forward_call
from stages.portable.vendor_errors import first_line
from stages.reference.eager_model import computing

MOST_BYTES = 2**30  # of weights: each answer widens all of them, which takes time
LARGE = 2**20  # bytes of a weight: larger ones are widened where they are used
AT_ONCE = 2**20  # bytes of a weight that are widened at once where it is multiplied
SELECT = ("embedding", "index_select", "index", "gather")  # give numbers of their first operand as they are
# With more threads than cores, products of matrices in float64 take fifty times as long.
ALONE = 1
MOST_ELEMENTS = 2**18  # of all inputs together: a convolution takes four times as long in float64
MOST_OF_FIRST = 2**22  # of the first inputs alone, which are the smallest: a picture of 1,024 x 1,024 pixels has fewer


class ExactModel:
    """A module in float64, which answers only if nothing inside it computes in a smaller type.

    It is a copy, but for its large weights. A number stands for each of these, which has its shape and is float64; an
    operator that is called with it gets the module's own weight, widened for this call. So a model of one gibibyte does
    not take two more.

    Attributes:
        why_not: Why there are no answers; empty where there are.
    """

    def __init__(self, module: Any, call: Mapping[str, Any] | None) -> None:
        self._call = call
        self.why_not, self._module, self._elements_left = "", None, MOST_ELEMENTS
        self._answered = False
        self._weights = StandIns()
        size = sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))
        if size > MOST_BYTES:
            self.why_not = f"its weights take {size / 2**30:.1f} GiB, and this is done up to 1 GiB"
            return
        try:
            large = [p for p in module.parameters() if p.is_floating_point() and p.nbytes > LARGE]
            self._module = copy.deepcopy(module, {id(p): self._weights.parameter(p) for p in large}).double()
        except Exception as e:  # a module may hold anything
            self.why_not = f"it cannot be copied: {first_line(e)}"

    def answers(self, arrays: Mapping[str, Any], take: Callable[[Any], Mapping[str, Any]]) -> dict[str, Any]:
        """Floating-point outputs by name; none where they cannot be computed, or not in reasonable time.

        The first inputs, which should be the smallest, may be larger than the limit of all together.

        Args:
            arrays: Inputs by name.
            take: Turns what forward returns into outputs by name.
        """
        import numpy as np
        import torch

        size = sum(v.size for v in arrays.values())
        if self._module is not None and not self._answered and size > MOST_OF_FIRST:
            self._give_up(f"its smallest inputs have {size:,} numbers, and this is done up to {MOST_OF_FIRST:,}")
        if self._module is None or (self._answered and size > self._elements_left):
            return {}
        self._elements_left, self._answered = self._elements_left - size, True
        wide = {n: v.astype("f8") if v.dtype.kind == "f" else v.copy() for n, v in arrays.items()}
        args, kwargs = forward_call.arguments(self._call, {n: torch.from_numpy(np.asarray(v)) for n, v in wide.items()})
        try:
            with computing(ALONE), _in_float64(self._weights) as narrow, torch.no_grad():
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


class StandIns:
    """Numbers that stand for large weights: each is not a number, in float64, expanded to the weight's shape."""

    def __init__(self) -> None:
        self._by_address: dict[int, tuple[Any, Any]] = {}  # a stand-in, which keeps its address, and what it stands for

    def parameter(self, weight: Any) -> Any:
        """A parameter that stands for another."""
        import torch

        return torch.nn.Parameter(self.tensor(weight.detach()), requires_grad=False)

    def tensor(self, weight: Any) -> Any:
        """A tensor that stands for another, which may be a view of a weight."""
        import torch

        stand_in = torch.full((), math.nan, dtype=torch.float64).expand(weight.shape)
        self._by_address[stand_in.data_ptr()] = stand_in, weight
        return stand_in

    def weight(self, value: Any) -> Any | None:
        """What a value stands for, as it was; None where it stands for itself."""
        import torch

        if not torch.is_tensor(value) or value.dtype is not torch.float64 or not value.ndim or any(value.stride()):
            return None
        return self._by_address.get(value.data_ptr(), (None, None))[1]

    def called(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The result of an operator that is called with stand-ins. Raises TypeError where it would write to one."""
        import torch
        from torch.utils._pytree import tree_map

        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write and self.weight(value) is not None:
                raise TypeError(f"{func.overloadpacket.__name__} writes to a weight")
        name = func.overloadpacket.__name__
        if func.is_view:
            views = func(*tree_map(self._itself, args), **tree_map(self._itself, dict(kwargs)))
            return tree_map(lambda view: self.tensor(view) if view.ndim else view.double(), views)
        if name in SELECT:  # the numbers that are selected, not all
            return func(*tree_map(self._itself, args), **kwargs).double()
        *others, last = args
        if name in ("mm", "addmm") and (matrix := self.weight(last)) is not None:
            width = max(1, AT_ONCE // (matrix.element_size() * len(matrix)))
            widened = [tree_map(self._widened, v) for v in others]
            product = widened[-1].new_empty(len(widened[-1]), matrix.shape[1])
            for columns, part in zip(product.split(width, 1), matrix.split(width, 1), strict=True):
                columns.copy_(torch.mm(widened[-1], part.double()))
            if name == "mm":
                return product
            return kwargs.get("beta", 1) * widened[0] + kwargs.get("alpha", 1) * product
        return func(*tree_map(self._widened, args), **tree_map(self._widened, dict(kwargs)))

    def _itself(self, value: Any) -> Any:
        weight = self.weight(value)
        return value if weight is None else weight

    def _widened(self, value: Any) -> Any:
        weight = self.weight(value)
        return value if weight is None else weight.double()


@contextlib.contextmanager
def _in_float64(weights: StandIns) -> Iterator[list[str]]:
    """Makes operators that are called with float32 compute in float64, and collects those that still give less.

    Tensors of float32 come from outside: the model holds some besides parameters and buffers, or makes them of numbers.

    In inference mode it would not see the parts that an operator is made of.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves, tree_map

    less = (torch.float32, torch.float16, torch.bfloat16, torch.complex64)
    wider = {torch.float32: torch.float64, torch.complex64: torch.complex128}
    narrow: list[str] = []

    def widened(value: Any) -> Any:
        if torch.is_tensor(value):
            return value.to(wider[value.dtype]) if value.dtype in wider else value
        return wider.get(value, value) if isinstance(value, torch.dtype) else value

    class Widen(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if not func._schema.is_mutable:
                args, kwargs = tree_map(widened, (args, kwargs))
            stands_in = any(weights.weight(v) is not None for v in tree_leaves((args, kwargs)))
            result = weights.called(func, args, kwargs) if stands_in else func(*args, **kwargs)
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
