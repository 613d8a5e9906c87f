"""Runs two artifacts on the same inputs and reports how far apart they are. It gives no verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pipeline import formats
from pipeline.artifact import Artifact, Kind
from pipeline.errors import listed
from pipeline.notes import Notes
from stages.formats import session
from stages.formats.extensions import Extensions
from stages.formats.running import COMPUTE, Running
from stages.interface.interface import says_all
from stages.portable import comparison
from stages.reference import artifact_cases
from stages.reference import cases as reference_cases

KINDS = formats.kinds("runtime") - session.ON_REQUEST


class Compared(Notes):
    """Notes with each comparison, and what could not be compared, in words."""

    compared: Mapping[str, Any]


@dataclass(frozen=True)
class Compare(Running):
    """Compares an artifact with another of any kind that runs, at every shape of the reference that both take.

    Args:
        compute: The type that both must compute in: float32, float16 or bfloat16.
        extensions: Operations that the runtime does not have by itself; see compile_openvino.
    """

    compute: Annotated[str, COMPUTE]
    extensions: Annotated[list[str], Extensions()]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "artifact": KINDS,
        "other": KINDS,
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces: ClassVar[Kind | str] = "artifact"
    requires: ClassVar[tuple[str, ...]] = ("numpy", "safetensors")
    runs: ClassVar[tuple[str, ...]] = ("artifact", "other")
    isolable: ClassVar[bool] = True

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        pair = [inputs["artifact"], inputs["other"]]
        ready = [session.with_interface(artifact, inputs["reference"]) for artifact in pair]
        running = [session.open_session(a, self.compute, extensions=self.extensions) for a in ready]
        cases: list[dict[str, Any]] = []
        unlike: list[str] = []
        for question in reference_cases.at_sizes(inputs["reference"]):
            adapted = [artifact_cases.case_for(artifact, question) for artifact in pair]
            if adapted[0] is None or adapted[1] is None:
                continue
            shape = says_all(adapted[0].inputs)
            answers = zip(running, adapted, strict=True)
            actual, expected = (case.counted(run(case.inputs)) for run, case in answers if case is not None)
            worst, apart = _apart(actual, expected)
            unlike += [f"at {shape}, {p}" for p in apart]
            cases.append({"label": question.label, "shape": shape, "max_rel": worst})
        error = (
            f"worst relative error {max(float(c['max_rel']) for c in cases):.1e}"
            if cases
            else "they take no shape of the reference in common"
        )
        line = "; ".join([error, *([f"unlike: {listed(unlike, 3)}"] if unlike else [])])
        return replace(inputs["artifact"], notes=Compared(says=line, compared={"cases": cases, "unlike": unlike}))


def _apart(actual: Mapping[str, Any], expected: Mapping[str, Any]) -> tuple[float, list[str]]:
    """The largest relative error between two sets of outputs, and what cannot be compared, in words."""
    if set(actual) != set(expected):
        return 0.0, [f"one's outputs are {listed(actual)}, the other's {listed(expected)}"]
    worst, unlike = 0.0, []
    for name in expected:
        if problem := comparison.mismatch(actual[name], expected[name]):
            unlike.append(f"'{name}' {problem}".replace("the model's", "the other's"))
        elif expected[name].dtype.kind == "f":
            worst = max(worst, comparison.compare(actual[name], expected[name]).max_rel)
    return worst, unlike
