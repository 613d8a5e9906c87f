"""Runs two artifacts on the same inputs and says how far apart they are. It passes no verdict."""

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
from stages.reference import as_met
from stages.reference import cases as reference_cases

KINDS = formats.kinds("runtime") - session.ON_REQUEST


class Compared(Notes):
    """Notes with each comparison, and what could not be compared, in words."""

    compared: Mapping[str, Any]


@dataclass(frozen=True)
class Compare(Running):
    """Compares an artifact with another of any kind that runs, at every shape of the reference that both take.

    Args:
        compute: What both must compute in: float32, float16 or bfloat16.
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
        for asked in reference_cases.at_sizes(inputs["reference"]):
            met = [as_met.case_for(artifact, asked) for artifact in pair]
            if met[0] is None or met[1] is None:
                continue
            shape = says_all(met[0].inputs)
            answers = zip(running, met, strict=True)
            found, wanted = (case.counted(run(case.inputs)) for run, case in answers if case is not None)
            worst, apart = _apart(found, wanted)
            unlike += [f"at {shape}, {p}" for p in apart]
            cases.append({"label": asked.label, "shape": shape, "max_rel": worst})
        told = (
            f"worst relative error {max(float(c['max_rel']) for c in cases):.1e}"
            if cases
            else "they take no shape of the reference in common"
        )
        line = "; ".join([told, *([f"unlike: {listed(unlike, 3)}"] if unlike else [])])
        return replace(inputs["artifact"], notes=Compared(says=line, compared={"cases": cases, "unlike": unlike}))


def _apart(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[float, list[str]]:
    """The largest relative error of two sets of outputs, and what of them cannot be compared, in words."""
    if set(found) != set(wanted):
        return 0.0, [f"one's outputs are {listed(found)}, the other's {listed(wanted)}"]
    worst, unlike = 0.0, []
    for name in wanted:
        if problem := comparison.mismatch(found[name], wanted[name]):
            unlike.append(f"'{name}' {problem}".replace("the model's", "the other's"))
        elif wanted[name].dtype.kind == "f":
            worst = max(worst, comparison.compare(found[name], wanted[name]).max_rel)
    return worst, unlike
