"""A pass that finds the operations of a MIL program that keep float32; see stages/formats/denominators.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from stages.formats.denominators import Graph, Step

NAME = "drydock::find_denominators"
LOST = 2.0**-20  # a smaller epsilon has an error of more than 3 % in float16, whose smallest steps are 2⁻²⁴


@dataclass
class Float32Operations:
    """The operations of a program that keep float32.

    Args:
        names: The names of all of them.
        weighted: The names of those with weights.
    """

    names: set[str] = field(default_factory=set)
    weighted: set[str] = field(default_factory=set)


def register(wide: Float32Operations) -> None:
    """Registers the pass for this conversion with coremltools under NAME; it changes only `wide`."""
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_registry import register_pass

    @register_pass(namespace="drydock", name="find_denominators", override=True)
    class FindDenominators(AbstractGraphPass):  # type: ignore[misc]
        """Finds the operations that measure, guard and divide."""

        def apply(self, prog: Any) -> None:
            for function in prog.functions.values():
                computed = [op for op in function.operations if op.op_type != "const"]
                wide.weighted.update(op.name for op in computed if _loses_epsilon(op))
                wide.names.update(Graph([_step(op) for op in computed]).in_float32, wide.weighted)


def _step(op: Any) -> Step:
    variables = [v for v in op.inputs.values() if not isinstance(v, list | tuple) and v is not None]
    constants = [v for v in variables if _is_constant(v)]
    ordered = [None if v in constants else v.name for v in variables] if _is_binary(op) else _computed(variables)
    return Step(op.name, op.op_type, ordered, [o.name for o in op.outputs], list(_numbers(constants)))


def _loses_epsilon(op: Any) -> bool:
    """Whether an operation has an epsilon too small for float16: a normalisation, a logarithm or a reciprocal."""
    epsilon = op.inputs.get("epsilon")
    return epsilon is not None and _is_constant(epsilon) and 0 < float(epsilon.val) < LOST


def _is_binary(op: Any) -> bool:
    return {*op.inputs} >= {"x", "y"}


def _computed(variables: list[Any]) -> list[str | None]:
    """The inputs of an operation that are not constants; the constants are its settings."""
    return [v.name for v in variables if not _is_constant(v)]


def _is_constant(variable: Any) -> bool:
    return variable.op is not None and variable.op.op_type == "const"


def _numbers(constants: list[Any]) -> Iterator[float]:
    import numpy as np

    for variable in constants:
        value = np.asarray(variable.val)
        if value.size == 1 and value.dtype.kind == "f":
            yield float(value.item())
