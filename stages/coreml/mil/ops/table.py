"""The table of operations: a function for each MIL operation, and for each opset where its meaning changed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # of numpy; which type its elements have is the program's matter

IOS15, IOS16, IOS17, IOS18 = 5, 6, 7, 8


@dataclass(frozen=True)
class Found:
    """An operation of the table.

    Args:
        function: Takes the operation's inputs by their MIL names.
        parameters: What it can be given.
        exact: Whether it only moves values, so that their type does not matter.
    """

    function: Callable[..., Any]
    parameters: frozenset[str]
    exact: bool

    def take(self, value: Any) -> Any:
        """A value as the function computes with it: float16 in float32, which holds each of them exactly."""
        if self.exact:
            return value
        if isinstance(value, list):
            return [self.take(v) for v in value]
        return value.astype(np.float32) if isinstance(value, np.ndarray) and value.dtype == np.float16 else value

    def call(self, given: Mapping[str, Any]) -> Any:
        """The operation's result, or a tuple of several; its floating-point results are rounded by the caller."""
        return self.function(**given)


TABLE: dict[str, dict[int, Found]] = {}


def mil(*names: str, since: int = IOS15, exact: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function as a MIL operation.

    Args:
        names: The operation's, where it is not the function's own.
        since: The opset from which it means this.
        exact: See Found.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        found = Found(function, frozenset(inspect.signature(function).parameters), exact)
        for name in names or (function.__name__,):
            versions = TABLE.setdefault(name, {})
            assert since not in versions, f"{name} is there twice"
            versions[since] = found
        return function

    return register


def find(name: str, opset: int) -> Found | None:
    """What an operation means in an opset; None for one that is not in the table."""
    versions = [since for since in TABLE.get(name, {}) if since <= opset]
    return TABLE[name][max(versions)] if versions else None


def tensor(values: Array) -> Any:
    """torch's tensor of an array, of the same memory where that lies in order."""
    import torch

    return torch.from_numpy(np.asarray(values, order="C"))


def ints(values: Any) -> list[int]:
    """Whole numbers of an array, as Python's."""
    return [int(v) for v in np.asarray(values).reshape(-1)]
