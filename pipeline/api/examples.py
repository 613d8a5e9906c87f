"""The configuration of a model's inputs, from example tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ConfigError, Problem

BATCH = "batch"
# The sizes of a first dimension that is called dynamic without a range.
SMALLEST, USUAL, LARGEST = 1, 2, 8


@dataclass(frozen=True)
class Examples:
    """The configuration that example inputs describe.

    Args:
        inputs: For `model.inputs`.
        dims: For `model.dims`.
        call: For `model.call`; None where forward takes the inputs in order.
        arrays: The examples themselves, as numpy arrays by input; every check runs them first.
    """

    inputs: Mapping[str, Mapping[str, Any]]
    dims: Mapping[str, Mapping[str, int]]
    call: Mapping[str, Any] | None
    arrays: Mapping[str, Any]


def describe(
    forward: Callable[..., Any],
    example_inputs: Any,
    dynamic: Mapping[Any, Any] | None,
    dims: Mapping[str, Any] | None,
) -> Examples:
    """Inputs, dimensions and the call, as tensors for forward show them.

    Args:
        forward: The method that takes them; its parameters name them.
        example_inputs: A tensor or an array, a tuple of them in order, or a mapping by parameter.
        dynamic: By input, its dynamic axes with their names, such as {"ids": {0: "batch", 1: "sequence"}}; or the axes
            alone, for every input: {0: "batch"}.
        dims: By name, the sizes: (smallest, largest), (smallest, usual, largest), or a mapping as in YAML. Of a first
            axis that has none: 1 to 8.

    Raises ConfigError.
    """
    values, by_name = _by_name(forward, example_inputs)
    arrays = {name: _array(name, value) for name, value in values.items()}
    axes = _axes(dynamic or {}, list(arrays))
    inputs: dict[str, dict[str, Any]] = {}
    sizes: dict[str, int] = {}
    first: set[str] = set()
    for name, array in arrays.items():
        shape: list[Any] = [int(size) for size in array.shape]
        for axis, dim in axes.get(name, {}).items():
            if not -len(shape) <= axis < len(shape):
                raise ConfigError(f"dynamic[{name!r}] has the axis {axis}, and its example {len(shape)} dimensions")
            first |= {dim} if axis == 0 else set()
            sizes.setdefault(dim, shape[axis])
            shape[axis] = dim
        inputs[name] = {"shape": shape, "dtype": str(array.dtype), "fill": _fill(name, array)}
    if unknown := [d for d in dims or {} if d not in sizes]:
        raise ConfigError(f"dims has {unknown[0]!r}, which no axis of dynamic is called", allowed=str(sorted(sizes)))
    ranges = {dim: _range(dim, size, (dims or {}).get(dim), first=dim in first) for dim, size in sizes.items()}
    return Examples(inputs, ranges, {"kwargs": {n: n for n in by_name}} if by_name else None, arrays)


def _by_name(forward: Callable[..., Any], example_inputs: Any) -> tuple[dict[str, Any], list[str]]:
    """The examples by name, and those that forward takes by keyword."""
    try:
        parameters = [
            p.name
            for p in inspect.signature(forward).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):  # what is not written in Python tells no signature
        parameters = []
    if isinstance(example_inputs, Mapping):
        names = list(example_inputs)
        return dict(example_inputs), [] if names == parameters[: len(names)] else names
    values = list(example_inputs) if isinstance(example_inputs, Sequence) else [example_inputs]
    names = [*parameters, *(f"input_{n}" for n in range(len(parameters), len(values)))]
    return dict(zip(names, values, strict=False)), []


def _array(name: str, value: Any) -> Any:
    """A tensor's numbers as numpy has them. Raises ConfigError for what is none."""
    for step in ("detach", "cpu", "resolve_conj", "resolve_neg"):
        value = getattr(value, step, lambda value=value: value)()
    if str(getattr(value, "dtype", "")) == "torch.bfloat16":
        value = value.float()
    array = value.numpy() if hasattr(value, "numpy") else value
    if not hasattr(array, "dtype") or not hasattr(array, "shape"):
        raise ConfigError(
            f"example_inputs has {type(value).__name__} for {name}",
            allowed="a tensor or an array for each input",
            command="wrap the module in one whose forward takes tensors alone",
        )
    return array


def _axes(dynamic: Mapping[Any, Any], inputs: Sequence[str]) -> dict[str, dict[int, str]]:
    if all(isinstance(axis, int) for axis in dynamic):
        return {name: dict(dynamic) for name in inputs}
    if unknown := [str(name) for name in dynamic if name not in inputs]:
        raise ConfigError(f"dynamic has {unknown[0]!r}, which is no input", allowed=", ".join(inputs))
    return {name: {int(axis): str(dim) for axis, dim in axes.items()} for name, axes in dynamic.items()}


def _fill(name: str, array: Any) -> Any:
    """How further values of an input are drawn: None for floating-point, for integers the range of the example."""
    if array.dtype.kind == "f" or not array.size:
        return None
    low, high = int(array.min()), int(array.max())
    if "mask" in name and array.ndim and low >= 0 and high <= 1:
        return "mask"
    return {"integers": [min(low, 0), max(high + 1, 2)]}


def _range(dim: str, size: int, sizes: Any, *, first: bool) -> dict[str, int]:
    if sizes is None and not first:
        raise ConfigError(
            Problem(
                f"the dynamic dimension {dim!r} has no range: only of a first axis is it taken to be "
                f"{SMALLEST} to {LARGEST}",
                command=f"dims={{{dim!r}: ({min(size, 1)}, {2 * size})}}, with the sizes that the model is for",
            )
        )
    if isinstance(sizes, Mapping):
        return dict(sizes)
    usual = size if size > 1 else USUAL
    smallest, *middle, largest = sizes or (SMALLEST, max(LARGEST, usual))
    return {"min": smallest, "opt": middle[0] if middle else min(max(usual, smallest), largest), "max": largest}
