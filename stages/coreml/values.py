"""The values of operations inside a Core ML package, computed by the reference evaluator."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from stages.coreml import runtime as coreml_runtime
from stages.coreml.mil import evaluate, read
from stages.coreml.mil.program import Operation, Program
from stages.formats import graphs, inner
from stages.formats.inner import Inner
from stages.formats.session import How

if TYPE_CHECKING:
    from stages.formats.session import Arrays

log = logging.getLogger(__name__)


def values(artifact: Artifact, names: Sequence[str], inputs: Arrays, fed: Arrays, how: How) -> Arrays:
    recorded: dict[str, Any] = {}

    def watch(operation: Operation, results: list[Any]) -> list[Any]:
        name = _name(operation)
        results = [fed[name].astype(results[0].dtype), *results[1:]] if name in fed else results
        if name in names:
            recorded[name] = results[0]
        return results

    evaluate.evaluate(_program(artifact, how), inputs, watch=watch)
    return recorded


def all_values(artifact: Artifact, inputs: Arrays, how: How) -> Inner:
    import numpy as np

    program = _program(artifact, how)
    function = program.functions[program.default]
    needed = dict.fromkeys(inner.dynamic(graphs.read(artifact), list(function.inputs)))
    recorded: dict[str, list[Any]] = {}

    def watch(operation: Operation, results: list[Any]) -> list[Any]:
        if (name := _name(operation)) in needed:
            recorded[name] = [r for r in results if isinstance(r, np.ndarray)]
        return results

    try:
        evaluate.evaluate(program, inputs, watch=watch)
    except Exception:  # values that do not fit an operation raise anything
        log.info("not all values of the package can be computed", exc_info=True)
        return Inner(recorded, next((n for n in needed if n not in recorded), ""))
    return Inner(recorded)


def _program(artifact: Artifact, how: How) -> Program:
    program = read.read(artifact.file)
    function = how.properties.get(coreml_runtime.FUNCTION)
    return program if function is None else program.entered_by(function)


def _name(operation: Operation) -> str:
    return operation.name or operation.outputs[0][0]
