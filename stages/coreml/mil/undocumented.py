"""What a program uses of which neither Apple's documentation nor a test of coremltools says what Core ML answers.

The evaluator has to take it some way. What follows of that is not checked, and is told with the check.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.coreml.mil.program import Function, Operation, Value

# By operation and the value of a parameter: what is open, and how it is taken. Core ML's documentation was read as of
# coremltools 9.0 (ops/defs), its tests of values likewise (ops/tests).
OPEN: Mapping[tuple[str, str, str], str] = {
    (
        "resample",
        "sampling_mode",
        "nearest",
    ): "which of two pixels that are as near it takes is not documented; the even one is taken here",
    (
        "resize",
        "interpolation_mode",
        "NEAREST_NEIGHBOR",
    ): "which of two elements that are as near it takes is not documented; the later one is taken here",
}


def found(function: Function) -> dict[str, str]:
    """What a function uses of that: "resample(sampling_mode=nearest)" and the sentence."""
    operations = list(function.block.walk())
    constants = {o.outputs[0][0]: o.attributes["val"] for o in operations if o.type == "const"}
    return {
        f"{kind}({parameter}={value})": said
        for (kind, parameter, value), said in OPEN.items()
        if any(o.type == kind and _bound(o, parameter, constants) == value for o in operations)
    }


def _bound(operation: Operation, parameter: str, constants: Mapping[str, Value]) -> Any:
    """The constant that a parameter is; None for one that is computed, or left out."""
    (bound,) = operation.inputs.get(parameter, (None,))
    value = constants.get(bound) if isinstance(bound, str) else bound
    return None if value is None else value.load()
