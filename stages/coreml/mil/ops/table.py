"""The table of operations: a function for each MIL operation, and for each opset where its meaning changed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # a numpy array; the program decides the type of its elements

IOS15, IOS16, IOS17, IOS18 = 5, 6, 7, 8


@dataclass(frozen=True)
class Entry:
    """An operation of the table.

    Args:
        function: Takes the operation's inputs by their MIL names.
        parameters: The names of its inputs.
        exact: Whether it only moves values, so that their type does not matter.
    """

    function: Callable[..., Any]
    parameters: frozenset[str]
    exact: bool

    def take(self, value: Any) -> Any:
        """A value as the function takes it: float16 as float32, which represents it exactly."""
        if self.exact:
            return value
        if isinstance(value, list):
            return [self.take(v) for v in value]
        return value.astype(np.float32) if isinstance(value, np.ndarray) and value.dtype == np.float16 else value

    def call(self, inputs: Mapping[str, Any]) -> Any:
        """The operation's result, or a tuple of several; the caller rounds floating-point results."""
        return self.function(**inputs)


TABLE: dict[str, dict[int, Entry]] = {}


def mil(*names: str, since: int = IOS15, exact: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function as a MIL operation.

    Args:
        names: The operation's names, where they differ from the function's.
        since: The first opset with this meaning.
        exact: See Entry.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        entry = Entry(function, frozenset(inspect.signature(function).parameters), exact)
        for name in names or (function.__name__,):
            versions = TABLE.setdefault(name, {})
            assert since not in versions, f"{name} is there twice"
            versions[since] = entry
        return function

    return register


def find(name: str, opset: int) -> Entry | None:
    """The entry of an operation in an opset; None for one that is not in the table."""
    versions = [since for since in TABLE.get(name, {}) if since <= opset]
    return TABLE[name][max(versions)] if versions else None


def tensor(values: Array) -> Any:
    """torch's tensor of an array, sharing its memory where that is contiguous."""
    import torch

    return torch.from_numpy(np.asarray(values, order="C"))


def ints(values: Any) -> list[int]:
    """The integers of an array, as Python's."""
    return [int(v) for v in np.asarray(values).reshape(-1)]
