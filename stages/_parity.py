"""Runs an artifact on the reference's inputs and says how far its outputs are from the PyTorch model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed, DrydockError, listed
from stages import _compare, _reference
from stages._compare import Figures, Tolerance
from stages._interface import says
from stages.runtimes.session import Session


@dataclass(frozen=True)
class Parity:
    """What a comparison found.

    Args:
        cases: For each shape of the reference its label, the shape, the worst relative error and all figures.
        wrong: What lies outside the tolerance, a sentence each; empty when the artifact agrees.
    """

    cases: Sequence[Mapping[str, Any]]
    wrong: Sequence[str]

    @property
    def worst(self) -> float:
        """The largest relative error at any shape."""
        return max(float(c["max_rel"]) for c in self.cases)


def measure(artifact: Artifact, running: Session, reference: Artifact, tolerance: Tolerance) -> Parity:
    """Compares at every recorded shape.

    Shapes, types and the places of NaN and infinities must be equal, floating-point values within the tolerance, all
    others equal.

    Args:
        artifact: What is compared, for its name in messages.
        running: The same, loaded and ready to be run.
        reference: What the PyTorch model answered.
        tolerance: How far outputs may be from that.

    Raises:
        CheckFailed: When the artifact cannot be run at a shape.
    """
    cases: list[Mapping[str, Any]] = []
    wrong: list[str] = []
    for case in _reference.read(reference):
        shape = ", ".join(says(v.shape) for v in case.inputs.values())
        figures, problems = _compared(_run(running, case.inputs, artifact, shape), case.outputs, tolerance)
        wrong += [f"{case.label} ({shape}): {p}" for p in problems]
        outputs = {n: asdict(f) for n, f in figures.items()}
        cases.append({"label": case.label, "shape": shape, "max_rel": _compare.worst(figures), "outputs": outputs})
    return Parity(cases, wrong)


def _compared(
    found: Mapping[str, Any], wanted: Mapping[str, Any], tolerance: Tolerance
) -> tuple[dict[str, Figures], list[str]]:
    if set(found) != set(wanted):
        return {}, [f"its outputs are {listed(found)}, the model's are {listed(wanted)}"]
    figures: dict[str, Figures] = {}
    wrong = []
    for name in wanted:
        if problem := _compare.mismatch(found[name], wanted[name]):
            wrong.append(f"output '{name}' {problem}")
        elif wanted[name].dtype.kind == "f":
            figures[name] = _compare.compare(found[name], wanted[name])
            wrong += [f"output '{name}' {b}" for b in figures[name].beyond(tolerance)]
    return figures, wrong


def _run(running: Session, given: Mapping[str, Any], artifact: Artifact, shape: str) -> Mapping[str, Any]:
    try:
        return running(given)
    except DrydockError:
        raise
    except Exception as e:  # a runtime raises anything; a shape it rejects is a finding, not a crash
        first = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise CheckFailed(
            f"this {artifact.kind} cannot be run at {shape}, which the model accepts: {first}",
            allowed="every size between min and max of model.dims",
            command="a dimension was frozen on the way; capture=trace or capture=export may differ",
        ) from e
