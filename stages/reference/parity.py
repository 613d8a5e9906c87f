"""Runs an artifact on the reference's inputs and says how far its outputs are from the PyTorch model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline import notes
from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed, DrydockError, listed
from stages.formats.session import Session
from stages.interface.interface import Interface, Output, says
from stages.portable import comparison
from stages.portable.comparison import Tolerance
from stages.portable.said import first_line
from stages.reference import as_met, evidence
from stages.reference import cases as reference_cases
from stages.reference.cases import Case


@dataclass(frozen=True)
class Parity:
    """What a comparison found.

    Args:
        cases: For each shape of the reference its label, the shape, the worst relative error and all figures; where
            there are no answers, the label and the shape alone.
        wrong: What lies outside the tolerance, a sentence each; empty when the artifact agrees.
        left_out: The labels of the cases that the artifact does not take, its interface being another.
        suspect: The label of the first case with something wrong, otherwise of the one furthest off.
    """

    cases: Sequence[notes.Case]
    wrong: Sequence[str]
    left_out: Sequence[str] = ()
    suspect: str = ""

    @property
    def worst(self) -> float:
        """The largest relative error at any shape."""
        return max(float(c["max_rel"]) for c in self.cases)

    @property
    def shapes(self) -> list[str]:
        """The shapes that it was run at."""
        return [str(c["shape"]) for c in self.cases]


def measure(artifact: Artifact, running: Session, reference: Artifact, tolerance: Tolerance) -> Parity:
    """Compares at every recorded shape that the artifact takes: all of them, unless its interface was edited.

    Shapes, types and the places of NaN and infinities must be equal, floating-point values within the tolerance, all
    others equal.

    Args:
        artifact: What is compared, for its name in messages.
        running: The same, loaded and ready to be run.
        reference: What the PyTorch model answered.
        tolerance: How far outputs may be from that.

    Raises:
        CheckFailed: When the artifact cannot be run at a shape, or takes none of them.
    """
    measured: list[notes.Case] = []
    wrong: list[str] = []
    suspects: list[str] = []
    for case in _cases(artifact, reference):
        shape = ", ".join(says(v.shape) for v in case.inputs.values())
        figures, problems = comparison.compared(_run(running, case.inputs, artifact, shape), case.outputs, tolerance)
        wrong += [f"{case.label} ({shape}): {p}" for p in problems]
        suspects += [case.label] if problems else []
        outputs = {n: asdict(f) for n, f in figures.items()}
        measured.append({"label": case.label, "shape": shape, "max_rel": comparison.worst(figures), "outputs": outputs})
    seen = {m["label"] for m in measured}
    left_out = [c.label for c in reference_cases.read(reference) if c.label not in seen]
    furthest = max(measured, key=lambda m: m["max_rel"])
    return Parity(measured, wrong, left_out, next(iter(suspects), str(furthest["label"])))


def _cases(artifact: Artifact, reference: Artifact) -> list[Case]:
    """The cases of a reference as an artifact meets them. Raises CheckFailed when they would prove too little."""
    both = [(asked, as_met.case_for(artifact, asked)) for asked in reference_cases.read(reference)]
    taken = [(asked, met) for asked, met in both if met is not None]
    asked, met = [a for a, _ in taken], [m for _, m in taken]
    evidence.demand(artifact, reference, asked, met)
    return met


def unanswered(artifact: Artifact, running: Session, reference: Artifact) -> Parity:
    """Runs at every recorded shape that the artifact takes, where there are no answers to compare with.

    All there is to hold the outputs to is what the file says of them, names, shapes and types, and to be finite.

    Raises as `measure` does.
    """
    edits, interface = as_met.of(artifact), Interface.of(artifact)
    # What the file says of its outputs, unless a reshape made other sizes of them.
    told = interface if edits.reshape else edits.on(Interface.of(reference)).edited(Interface.of(reference))
    found: list[notes.Case] = []
    wrong: list[str] = []
    for case in _cases(artifact, reference):
        shape = ", ".join(says(v.shape) for v in case.inputs.values())
        outputs = _run(running, case.inputs, artifact, shape, "which model.dims asks for")
        sizes = {d: case.inputs[n].shape[axis] for n, spec in interface.inputs.items() for axis, d in spec.axes.items()}
        wrong += [f"{case.label} ({shape}): {p}" for p in _unlike(outputs, told.outputs, sizes)]
        found.append({"label": case.label, "shape": shape})
    return Parity(found, wrong)


def _unlike(found: Mapping[str, Any], told: Mapping[str, Output], sizes: Mapping[str, int]) -> list[str]:
    """How outputs differ from what is known of them, a sentence each."""
    import numpy as np

    if set(found) != set(told):
        return [f"its outputs are {listed(found)}, the file's are {listed(told)}"]
    wrong = []
    for name, output in told.items():
        value, wanted = found[name], [sizes[d] if isinstance(d, str) else d for d in output.shape]
        fits = len(value.shape) == len(wanted) and all(w in (None, n) for n, w in zip(value.shape, wanted, strict=True))
        if not fits:
            expected = "x".join("?" if w is None else str(w) for w in wanted) or "scalar"
            wrong.append(f"output '{name}' is {says(value.shape)}, by what the file says it is {expected}")
        if value.dtype.name != output.dtype:
            wrong.append(f"output '{name}' is {value.dtype}, by what the file says it is {output.dtype}")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            wrong.append(f"output '{name}' holds NaN or infinities")
    return wrong


def _run(
    running: Session, given: Mapping[str, Any], artifact: Artifact, shape: str, which: str = "which the model accepts"
) -> Mapping[str, Any]:
    try:
        return running(given)
    except DrydockError:
        raise
    except Exception as e:  # a runtime raises anything; a shape it rejects is a finding, not a crash
        raise CheckFailed(
            f"this {artifact.kind} cannot be run at {shape}, {which}: {first_line(e)}",
            allowed="every size between min and max of model.dims",
            command="a dimension was frozen on the way; capture=trace or capture=export may differ",
        ) from e
