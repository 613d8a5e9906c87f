"""When an answer is another than the model's: beyond ten times the error that the model itself makes in float32."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = Mapping[str, Any]
TIMES = 10
FLOOR = 2.0**-22  # of an output's size: the least error that is counted as the model's own
CEILING = 1e-4  # of an output's largest value, for the largest error, where the model is determined that well


class Eager:
    """A module in float32 and in float64.

    Args:
        module: The one of the run; it is not changed.
        outputs: Their names, in the order in which forward returns them.
    """

    def __init__(self, module: Any, outputs: list[str]) -> None:
        self._single, self._double, self._outputs = module, copy.deepcopy(module).double(), outputs

    def single(self, inputs: Arrays) -> dict[str, Any]:
        return self._answers(self._single, inputs)

    def double(self, inputs: Arrays) -> dict[str, Any]:
        import torch

        usual = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            wide = {n: v.astype(np.float64) if v.dtype == np.float32 else v for n, v in inputs.items()}
            return self._answers(self._double, wide)
        finally:
            torch.set_default_dtype(usual)

    def _answers(self, module: Any, inputs: Arrays) -> dict[str, Any]:
        import torch

        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # as captures and references have it
        try:
            with torch.inference_mode():
                returned = module(*(torch.from_numpy(v.copy()) for v in inputs.values()))
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
        tensors = returned if isinstance(returned, tuple) else (returned,)
        return {n: t.numpy() for n, t in zip(self._outputs, tensors, strict=True)}


@dataclass(frozen=True)
class Truth:
    """What the model answers to one question, and how far it is determined.

    Args:
        exact: Its answers in float64; whole numbers as they are.
        bounds: For each floating-point output, how large the root of the mean square of the error may be.
    """

    exact: Arrays
    bounds: Mapping[str, float]

    def told_apart(self, actual: Arrays) -> str:
        """In words, what is another than the model's answer; empty where nothing is."""
        for name, exact in self.exact.items():
            if name not in actual or actual[name].shape != exact.shape:
                return f"{name} has another shape"
            if exact.dtype.kind != "f":
                if not np.array_equal(actual[name], exact):
                    return f"{name} differs"
            elif not np.isfinite(actual[name]).all():
                return f"{name} holds NaN or infinities"
            elif (error := rms(actual[name] - exact)) > self.bounds[name]:
                return f"{name} is off by {error:.1e}, allowed are {self.bounds[name]:.1e}"
            else:
                largest = np.abs(exact).max(initial=0)
                far = np.abs(actual[name] - exact).max(initial=0)
                if self.bounds[name] <= CEILING * largest < far:
                    return f"{name} is off by {far:.1e} of {largest:.1e}"
        return ""


def truth(eager: Eager, inputs: Arrays, usual: Mapping[str, float]) -> Truth | None:
    """None where the model does not determine its answer: it fails, is not finite, or decides by rounding alone.

    Args:
        eager: The model.
        inputs: Of one question.
        usual: The size of each output at the example: one that is next to nothing is made of numbers as large as ever.
    """
    try:
        single, exact = eager.single(inputs), eager.double(inputs)
    except (RuntimeError, IndexError, ValueError):
        return None
    bounds = {}
    for name, value in single.items():
        if value.shape != exact[name].shape:
            return None
        if value.dtype.kind != "f":
            if not np.array_equal(value, exact[name]):
                return None
            continue
        if not (np.isfinite(value).all() and np.isfinite(exact[name]).all()):
            return None
        own = rms(value - exact[name])
        bounds[name] = TIMES * max(own, FLOOR * max(rms(exact[name]), usual.get(name, 0.0)))
    return Truth(exact, bounds)


def rms(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if values.size else 0.0
