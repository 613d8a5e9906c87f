"""A pass over MIL programs that are to compute in float16: a mask's largest numbers of float32 become float16's.

coremltools lets them become infinities, and a row of attention that is masked all through would be NaN. Numbers below
its own bound of 1e38 it keeps by leaving the operation in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NAME = "drydock::bound_constants"
BEFORE = "common::add_fp16_cast"
LARGEST = 65504.0  # of float16


def register(is_cast: Callable[[Any], bool]) -> None:
    """Makes the pass for this conversion known to coremltools by NAME.

    Args:
        is_cast: Whether an operation is to compute in float16; the others keep their constants.
    """
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_registry import register_pass

    @register_pass(namespace="drydock", name="bound_constants", override=True)
    class BoundConstants(AbstractGraphPass):  # type: ignore[misc]
        """Finite constants beyond float16's range, brought to its ends. What is infinite stays so."""

        def apply(self, prog: Any) -> None:
            for function in prog.functions.values():
                with function:
                    for op in list(function.operations):
                        if is_cast(op):
                            _bound(op)


def _bound(op: Any) -> None:
    for name, given in op.inputs.items():
        several = list(given) if isinstance(given, list | tuple) else [given]
        bounded = [_bounded(v, op) for v in several]
        if any(new is not old for new, old in zip(bounded, several, strict=True)):
            op.set_inputs(**{name: bounded if isinstance(given, list | tuple) else bounded[0]})


def _bounded(given: Any, op: Any) -> Any:
    """A constant of an operation within float16's range, in the place of one that is not; all else as it is."""
    import numpy as np
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

    if given.op is None or given.op.op_type != "const" or not given.is_tensor_or_scalar_of(dtype="fp32"):
        return given
    value = np.asarray(given.val)
    beyond = np.isfinite(value) & (np.abs(value) > LARGEST)
    if not beyond.any():
        return given
    within = np.where(beyond, np.clip(value, -LARGEST, LARGEST), value).astype(np.float32)
    return mb.const(val=within, name=f"{given.name}_bounded", before_op=op)
