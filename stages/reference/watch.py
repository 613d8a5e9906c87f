"""Watches a model while it runs: decisions between tied numbers, and rows of tables that are looked up."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Numbers closer than this share of the largest are tied: rounding decides between them.
NEAR = 2.0**-18
SORTED = ("sort", "argsort", "nms")
CHOSEN = ("argmax", "argmin", "max", "min")
COMPARED = ("gt", "ge", "lt", "le")


class Watch:
    """Sees every operator that runs while this context is entered.

    Attributes:
        ties: The operators that decided between tied numbers, each with the model's line.
        rows: For each table that rows were looked up in, by its tensor's address: which rows.
        operators: The names of all operators that ran, without namespace and overload.
    """

    def __init__(self) -> None:
        self.ties: dict[str, None] = {}
        self.rows: dict[int, Any] = {}
        self.operators: set[str] = set()
        self._ties = False
        self._mode: Any = None

    def __enter__(self) -> Watch:
        self._mode = _mode(self)
        self._mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._mode.__exit__(*error)

    def of_ties(self) -> Watch:
        """This watch, reset to record the ties of one question."""
        self.ties, self._ties = {}, True
        return self

    def tables(self, module: Any) -> dict[str, Any]:
        """For each of a module's tables, by its parameter's name, which rows were looked up: booleans [rows]."""
        names = {p.data_ptr(): name for name, p in module.named_parameters()}
        return {names[at]: rows.numpy() for at, rows in self.rows.items() if at in names}

    def see(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Looks at one operator and its arguments."""
        self.operators.add(name)
        if name in ("embedding", "embedding_bag", "_embedding_bag"):
            import torch

            table, indices = args[0], args[1]
            rows = self.rows.setdefault(table.data_ptr(), torch.zeros(len(table), dtype=torch.bool))
            rows[indices.reshape(-1).long()] = True
        elif self._ties and name in (*SORTED, *CHOSEN, *COMPARED, "topk") and _is_close(name, args, kwargs):
            self.ties.setdefault(f"{name}{place()}")


def _mode(watch: Watch) -> Any:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
        supports_higher_order_operators = True

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if hasattr(func, "overloadpacket"):  # torch.cond and its like have none: their branches are not seen
                watch.see(func.overloadpacket.__name__, args, kwargs or {})
            return func(*args, **(kwargs or {}))

    return Mode()  # type: ignore[no-untyped-call]


def _is_close(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operator decides between numbers that are equal, or nearly."""
    import torch

    values = args[1] if name == "nms" else args[0]
    if not torch.is_tensor(values) or not values.is_floating_point() or not values.numel():
        return False
    near = NEAR * float(values.abs().nan_to_num(0, 0, 0).max())
    if name in COMPARED:
        apart = (values - args[1]).abs()
        return bool(((apart <= near) & ((apart > 0) | (values != 0))).any())
    if name in CHOSEN and len(args) < 2 and "dim" not in kwargs:
        if name in ("max", "min"):
            return False  # the value alone
        values = values.reshape(-1)
    dim = _dim(name, args, kwargs)
    dim = -1 if values.ndim == 1 or dim is None else dim
    most = {"topk": args[1] + 1 if name == "topk" else 0}.get(name, values.shape[dim] if name in SORTED else 2)
    lowest = name in ("argmin", "min") or (name == "topk" and (args[3:4] or (kwargs.get("largest", True),))[0] is False)
    leading = values.sort(dim=dim, descending=not lowest).values.narrow(dim, 0, min(most, values.shape[dim]))
    return bool((leading.diff(dim=dim).abs() <= near).any())


def _dim(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
    if name == "nms":
        return 0
    at = 2 if name == "topk" else 1
    dim = args[at] if len(args) > at else kwargs.get("dim", -1)
    return dim if type(dim) is int else -1


def place() -> str:
    """The innermost line that is neither torch's nor ours, as " at net.py:27"; empty where there is none."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module == "stages.reference.eager_model":
            return ""
        if not re.match(r"(torch|stages)(\.|$)", module):
            return f" at {Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
