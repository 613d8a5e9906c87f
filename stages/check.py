"""Checks an artifact against the PyTorch model, and passes it through only when it agrees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import CheckFailed, Problem, listed
from pipeline.stage import Stage
from stages import _compare, _reference
from stages._compare import Figures, Tolerance
from stages._interface import says
from stages.runtimes import session

COMPUTE = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Check(Stage):
    """Runs an artifact on the reference's inputs, at every recorded shape, and compares the outputs.

    Shapes, types and the places of NaN and infinities must be equal, floating-point values within the tolerance,
    all others equal. The artifact goes on as it is, so the next stage's key does not depend on this one's.

    Args:
        compute: What the artifact must compute in while it is checked; asked for and read back.
        tolerance: How far outputs may be from the reference.
    """

    compute: str
    tolerance: Tolerance

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "artifact": frozenset(session.RUNTIMES),
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces: ClassVar[Kind | str] = "artifact"
    requires: ClassVar[tuple[str, ...]] = ("numpy", "safetensors")

    def modules(self, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
        runtime = session.modules(kinds["artifact"]) if "artifact" in kinds else ()
        return tuple(sorted({*self.requires, *runtime}))

    def problems(self) -> list[Problem]:
        found = [Problem(f"tolerance.{wrong}", allowed=allowed) for wrong, allowed in self.tolerance.out_of_range()]
        if self.compute not in COMPUTE:
            found.append(
                Problem(f"compute is {self.compute}", allowed=listed(COMPUTE), command="precision=fp32 or fp16")
            )
        return found

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        artifact = inputs["artifact"]
        running = session.open_session(artifact, self.compute)
        if running.computes_in != self.compute:
            raise CheckFailed(
                f"asked to compute in {self.compute}, the runtime computes in {running.computes_in}",
                command=f"stages.NAME.compute={running.computes_in}, or another machine",
            )
        told: list[dict[str, Any]] = []
        wrong: list[str] = []
        for case in _reference.read(inputs["reference"]):
            shape = ", ".join(says(v.shape) for v in case.inputs.values())
            figures, problems = self._compare(_run(running, case.inputs, artifact, shape), case.outputs)
            wrong += [f"{case.label} ({shape}): {p}" for p in problems]
            outputs = {n: asdict(f) for n, f in figures.items()}
            told.append({"label": case.label, "shape": shape, "max_rel": _compare.worst(figures), "outputs": outputs})
        if wrong:
            raise CheckFailed(
                f"this {artifact.kind} does not agree with the PyTorch model\n    " + "\n    ".join(wrong),
                allowed=str(self.tolerance),
                command="the stage just before this check brought the error in: the checks before it passed",
            )
        return artifact.noting(
            says=f"worst relative error {max(c['max_rel'] for c in told):.1e}",
            parity={"runtime": artifact.kind, "computes_in": running.computes_in, "cases": told},
        )

    def _compare(self, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[dict[str, Figures], list[str]]:
        if set(found) != set(wanted):
            return {}, [f"its outputs are {listed(found)}, PyTorch's are {listed(wanted)}"]
        figures: dict[str, Figures] = {}
        wrong = []
        for name in wanted:
            if problem := _compare.mismatch(found[name], wanted[name]):
                wrong.append(f"output '{name}' {problem}")
            elif wanted[name].dtype.kind == "f":
                figures[name] = _compare.compare(found[name], wanted[name])
                wrong += [f"output '{name}' {b}" for b in figures[name].beyond(self.tolerance)]
        return figures, wrong


def _run(running: session.Session, given: Mapping[str, Any], artifact: Artifact, shape: str) -> Mapping[str, Any]:
    try:
        return running(given)
    except Exception as e:  # a runtime raises anything; a shape it rejects is a finding, not a crash
        first = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise CheckFailed(
            f"this {artifact.kind} cannot be run at {shape}, which the PyTorch model accepts: {first}",
            allowed="every size between min and max of model.dims",
            command="a dimension was frozen on the way; capture=trace or capture=export may differ",
        ) from e
