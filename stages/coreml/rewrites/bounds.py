"""A pass over MIL programs in float16: replaces constants beyond float16's range, as in masks, by its largest number.

coremltools turns them into infinities, so a fully masked row of attention would become NaN. For numbers below its own
bound of 1e38 it keeps the whole operation in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NAME = "drydock::bound_constants"
BEFORE = "common::add_fp16_cast"
LARGEST = 65504.0  # the largest float16


def register(is_cast: Callable[[Any], bool]) -> None:
    """Makes the pass for this conversion known to coremltools by NAME.

    Args:
        is_cast: Whether an operation will compute in float16; the others keep their constants.
    """
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_registry import register_pass

    @register_pass(namespace="drydock", name="bound_constants", override=True)
    class BoundConstants(AbstractGraphPass):  # type: ignore[misc]
        """Clips finite constants to float16's range. Infinities stay."""

        def apply(self, prog: Any) -> None:
            for function in prog.functions.values():
                with function:
                    for op in list(function.operations):
                        if is_cast(op):
                            _bound(op)


def _bound(op: Any) -> None:
    for name, operand in op.inputs.items():
        several = list(operand) if isinstance(operand, list | tuple) else [operand]
        bounded = [_bounded(v, op) for v in several]
        if any(new is not old for new, old in zip(bounded, several, strict=True)):
            op.set_inputs(**{name: bounded if isinstance(operand, list | tuple) else bounded[0]})


def _bounded(variable: Any, op: Any) -> Any:
    """The variable itself, or a clipped constant where it is a constant beyond float16's range."""
    import numpy as np
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

    if variable.op is None or variable.op.op_type != "const" or not variable.is_tensor_or_scalar_of(dtype="fp32"):
        return variable
    value = np.asarray(variable.val)
    beyond = np.isfinite(value) & (np.abs(value) > LARGEST)
    if not beyond.any():
        return variable
    within = np.where(beyond, np.clip(value, -LARGEST, LARGEST), value).astype(np.float32)
    return mb.const(val=within, name=f"{variable.name}_bounded", before_op=op)
