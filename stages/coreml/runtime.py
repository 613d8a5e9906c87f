"""Runs Core ML packages: with Core ML on macOS, and with the reference evaluator everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed, Problem, StageError, listed
from stages.formats import session
from stages.formats.session import How
from stages.reference import artifact_cases

if TYPE_CHECKING:
    from stages.coreml.mil.program import Program
    from stages.formats.session import Arrays

REQUIRES = ("coremltools", "numpy", "torch")
# coremltools' name for the property that chooses a function of a package.
FUNCTION = "function_name"
UNMEASURED = Problem(
    "a device does not run the reference evaluator, so its speed is not measured",
    allowed="Core ML",
    command="the same on macOS, or '~stages.benchmark'",
)


class EvaluatorSession:
    """The reference evaluator. It computes in the program's own types, whatever type was requested."""

    def __init__(self, program: Program, labels: Sequence[Any] = ()) -> None:
        from stages.coreml.mil import evaluate, undocumented

        self.properties = {"executed_by": "reference evaluator", **_function(program)}
        if lacking := evaluate.missing(program):
            raise CheckFailed(
                f"not checked: the evaluator lacks {listed(lacking)}",
                allowed="operations of stages/coreml/mil/ops, which replace Core ML where there is none",
                command="a check on macOS; or '~stages.NAME' to deliver it as NOT CHECKED",
            )
        self._program = program
        self._function = program.functions[program.default]
        self._labels = labels
        self.computes_in = self._function.computes_in
        self.assumed = undocumented.assumptions(self._function)

    def __call__(self, inputs: Arrays) -> Arrays:
        from stages.coreml.mil import evaluate, features

        return features.as_arrays(self._function, evaluate.evaluate(self._program, inputs), self._labels)

    def prepare(self, inputs: Arrays) -> Callable[[], object]:
        raise StageError(UNMEASURED)


class CoremlSession:
    """Core ML's own prediction on the CPU. Core ML does not report its compute type, so it is read from the program."""

    def __init__(self, program: Program, labels: Sequence[Any] = ()) -> None:
        import coremltools

        self.properties = {"executed_by": "Core ML", "compute_units": "CPU_ONLY", **_function(program)}
        self._function = program.functions[program.default]
        self._labels = labels
        self.computes_in = self._function.computes_in
        units = coremltools.ComputeUnit.CPU_ONLY
        self._model = coremltools.models.MLModel(str(program.path), compute_units=units, **_function(program))

    def __call__(self, inputs: Arrays) -> Arrays:
        from stages.coreml.mil import features

        outputs = self._model.predict(features.for_coreml(self._function, inputs))
        return features.as_arrays(self._function, features.from_coreml(self._function, outputs), self._labels)

    def prepare(self, inputs: Arrays) -> Callable[[], object]:
        from stages.coreml.mil import features

        feeds: Any = features.for_coreml(self._function, inputs)
        return lambda: self._model.predict(feeds)


def unmeasured() -> list[Problem]:
    """Why the speed of a package is not measured on this machine; empty where Core ML runs."""
    return [] if has_core_ml() else [UNMEASURED]


def has_core_ml() -> bool:
    """Whether this machine has Core ML."""
    return sys.platform == "darwin"


def _function(program: Program) -> dict[str, str]:
    """The property that selects the function, for a package with several."""
    return {FUNCTION: program.default} if len(program.functions) > 1 else {}


def open_session(artifact: Artifact, how: How) -> EvaluatorSession | CoremlSession:
    """Reads a package.

    Raises:
        StageError: For a damaged package, a function that it does not have, and any other property.
        CheckFailed: Where the evaluator lacks an operation.
    """
    from stages.coreml.mil import read

    session.refuse_unknown(how.properties, {FUNCTION: ""}, "Core ML")
    session.without_extensions(how, "Core ML")
    program = read.read(artifact.file)
    if FUNCTION in how.properties:
        program = program.entered_by(how.properties[FUNCTION])
    # The labels in the order of the model's scores; for a package from elsewhere, in the order of its own.
    labels = artifact.facts.get(artifact_cases.SCORES, {}).get("labels") or program.functions[program.default].labels
    return CoremlSession(program, labels) if has_core_ml() else EvaluatorSession(program, labels)
