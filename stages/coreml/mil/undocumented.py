"""Features for which neither Apple's documentation nor a test of coremltools says what Core ML computes.

The evaluator has to assume something. What depends on the assumption is not checked, and the check says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.coreml.mil.program import Function, Operation, Value

# Operation, parameter and value, to what is undocumented and what we assume. Read in coremltools 9.0: the documentation
# (ops/defs) and the tests of values (ops/tests).
OPEN: Mapping[tuple[str, str, str], str] = {
    (
        "resample",
        "sampling_mode",
        "nearest",
    ): "which of two equally near pixels it takes is not documented; the even one is assumed",
    (
        "resize",
        "interpolation_mode",
        "NEAREST_NEIGHBOR",
    ): "which of two equally near elements it takes is not documented; the later one is assumed",
}


def assumptions(function: Function) -> dict[str, str]:
    """The assumptions behind a function: "resample(sampling_mode=nearest)" to the sentence."""
    operations = list(function.block.walk())
    constants = {o.outputs[0][0]: o.attributes["val"] for o in operations if o.type == "const"}
    return {
        f"{kind}({parameter}={value})": sentence
        for (kind, parameter, value), sentence in OPEN.items()
        if any(o.type == kind and _bound(o, parameter, constants) == value for o in operations)
    }


def _bound(operation: Operation, parameter: str, constants: Mapping[str, Value]) -> Any:
    """The constant value of a parameter; None where it is computed or omitted."""
    (bound,) = operation.inputs.get(parameter, (None,))
    value = constants.get(bound) if isinstance(bound, str) else bound
    return None if value is None else value.load()
