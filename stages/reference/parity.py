"""Runs an artifact on the reference's inputs and says how far its outputs are from the PyTorch model's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline import notes
from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed, DrydockError, listed
from stages.formats.session import Session
from stages.interface.interface import Interface, Output, says, says_all
from stages.portable.comparison import Tolerance
from stages.portable.vendor_errors import first_line
from stages.reference import artifact_cases, evidence, judging
from stages.reference import cases as reference_cases
from stages.reference.cases import Case
from stages.reference.families import DRAWS, LEVELS, SIZES
from stages.reference.judging import Verdict


@dataclass(frozen=True)
class Parity:
    """The result of a comparison.

    Args:
        cases: For each question of the reference its label, family and shape, the worst relative error and all figures;
            where there are no answers, only the label and the shape.
        wrong: What is outside the tolerance, a sentence each; empty when the artifact agrees.
        left_out: The labels of the cases that the artifact does not take because its interface was edited.
        suspect: The label of the first case with something wrong, otherwise of the case with the largest error.
        unsure: What is outside, or proves nothing, where the model itself decides by rounding alone, a sentence each.
        not_taken: The families of values that the artifact does not take because its interface was edited.
        failing: The labels of cases that were wrong in their first run, in the order of the runs, each with the label
            of the case that ran just before; that is empty for the first.
    """

    cases: Sequence[notes.Case]
    wrong: Sequence[str]
    left_out: Sequence[str] = ()
    suspect: str = ""
    unsure: Sequence[str] = ()
    not_taken: Sequence[str] = ()
    failing: Mapping[str, str] = field(default_factory=dict)

    @property
    def worst(self) -> float:
        """The largest relative error at any question."""
        return max(float(c["max_rel"]) for c in self.cases)

    @property
    def shapes(self) -> list[str]:
        """The shapes that it was run at."""
        return list(dict.fromkeys(str(c["shape"]) for c in self.cases))

    @property
    def families(self) -> list[str]:
        """The families of values that it was run with, besides the cases of sizes."""
        return [str(c["label"]) for c in self.cases if c["family"] != SIZES]

    @property
    def undetermined(self) -> dict[str, float]:
        """For each output that the model's arithmetic determines less precisely than the constants ask, how far."""
        return {n: float(share) for c in self.cases for n, share in c["undetermined"].items()}


class CannotRun(CheckFailed):
    """An artifact cannot be run where the model can.

    Attributes:
        label: The case.
    """

    label = ""

    def at(self, label: str) -> CannotRun:
        """Sets the case, and returns this error."""
        self.label = label
        return self


def measure(artifact: Artifact, running: Session, reference: Artifact, tolerance: Tolerance) -> Parity:
    """Compares at every question that the tolerance asks and the artifact takes: all, unless its interface was edited.

    Shapes, types and the places of NaN and infinities must be equal, floating-point values within the tolerance, all
    others equal. The artifact was just loaded. It runs the smallest sizes first, twice, then larger ones, then the
    first case again: what it keeps from one request must not change the next.

    Args:
        artifact: What is compared, for its name in messages.
        running: The same, loaded and ready to run.
        reference: With the PyTorch model's answers.
        tolerance: How far outputs may be off, and which families of values are compared.

    Raises:
        CannotRun: When the artifact cannot be run at a shape.
        CheckFailed: When it takes none of them.
    """
    levels = LEVELS[: LEVELS.index(tolerance.families) + 1]
    cases = _cases(artifact, reference, levels)
    usuals = judging.usual(cases)
    measured: dict[str, notes.Case] = {}
    wrong: dict[str, list[str]] = {}
    unsure: list[str] = []
    failing: dict[str, str] = {}
    last = ""
    for case, when in _in_order(cases):
        shape = says_all(case.inputs)
        answers = _run(running, case.inputs, artifact, shape, label=case.label)
        verdict = judging.judged(answers, case, usuals, tolerance)
        if verdict.wrong and not when:
            failing[case.label] = last
        last = case.label
        if verdict.wrong and (not when or case.label not in wrong):
            wrong.setdefault(case.label, []).extend(f"{case.label}{when} ({shape}): {p}" for p in verdict.wrong)
        if not when:
            unsure += [f"{case.label} ({shape}): {p}" for p in verdict.unsure]
            measured[case.label] = _case_notes(case, shape, verdict, tolerance)
    in_order = [measured[c.label] for c in cases]
    sentences = [sentence for c in cases for sentence in wrong.get(c.label, ())]
    missing = {n: f for n, f in reference_cases.labels(reference).items() if n not in measured and f in levels}
    left_out = [label for label, family in missing.items() if family == SIZES]
    furthest = max(in_order, key=lambda m: m["max_rel"])
    suspect = next((c.label for c in cases if c.label in wrong), str(furthest["label"]))
    not_taken = [label for label, family in missing.items() if family != SIZES]
    return Parity(in_order, sentences, left_out, suspect, unsure, not_taken, failing)


def alone(artifact: Artifact, running: Session, reference: Artifact, label: str, tolerance: Tolerance) -> Sequence[str]:
    """What is wrong with an artifact at one case alone, a sentence each. Raises as `measure` does."""
    cases = _cases(artifact, reference, LEVELS)
    case = next(c for c in cases if c.label == label)
    return judging.judged(_run(running, case.inputs, artifact, label), case, judging.usual(cases), tolerance).wrong


def _case_notes(case: Case, shape: str, verdict: Verdict, tolerance: Tolerance) -> notes.Case:
    drawn = case.family in (SIZES, DRAWS)
    return notes.Case(
        label=case.label,
        family=case.family,
        shape=shape,
        max_rel=verdict.worst,
        outputs={n: asdict(f) for n, f in verdict.figures.items()},
        bound=dict(verdict.bound),
        differing=dict(verdict.differing),
        undetermined={n: b for n, b in verdict.bound.items() if drawn and b > tolerance.max_rel},
    )


def _in_order(cases: Sequence[Case]) -> Iterator[tuple[Case, str]]:
    """The cases in the order of their runs, each with words on when, if it is run again."""
    first, *larger = sorted(cases, key=lambda c: sum(v.size for v in c.inputs.values()))
    yield first, ""
    yield first, ", asked twice"
    yield from ((case, "") for case in larger)
    yield cases[0], ", asked again after all others"


def _cases(artifact: Artifact, reference: Artifact, levels: Sequence[str]) -> list[Case]:
    """The cases of a reference in an artifact's own terms. Raises CheckFailed when they would prove too little."""
    recorded = [c for c in reference_cases.read(reference) if c.family in levels]
    both = [(case, _adapted(artifact, case)) for case in recorded]
    fitting = [(recorded, adapted) for recorded, adapted in both if adapted is not None]
    evidence.demand(artifact, reference, [a for a, _ in fitting], [m for _, m in fitting])
    return [m for _, m in fitting]


def _adapted(artifact: Artifact, case: Case) -> Case | None:
    """A case in an artifact's own terms; None also for a family of values that its types cannot hold."""
    try:
        return artifact_cases.case_for(artifact, case)
    except CheckFailed:
        if case.family in (SIZES, DRAWS):
            raise
        return None


def unanswered(artifact: Artifact, running: Session, reference: Artifact) -> Parity:
    """Runs at every recorded shape that the artifact takes, where there are no answers to compare with.

    The outputs must have the names, shapes and types that the file declares, and be finite.

    Raises as `measure` does.
    """
    edits, interface = artifact_cases.edits_of(artifact), Interface.read(artifact)
    # The outputs that the file declares, unless a reshape changed their sizes.
    declared = interface if edits.reshape else edits.on(Interface.read(reference)).edited(Interface.read(reference))
    runs: list[notes.Case] = []
    wrong: list[str] = []
    for case in _cases(artifact, reference, [SIZES]):
        shape = says_all(case.inputs)
        outputs = _run(running, case.inputs, artifact, shape, "which model.dims asks for")
        sizes = {d: case.inputs[n].shape[axis] for n, spec in interface.inputs.items() for axis, d in spec.axes.items()}
        wrong += [f"{case.label} ({shape}): {p}" for p in _unlike(outputs, declared.outputs, sizes)]
        runs.append({"label": case.label, "shape": shape})
    return Parity(runs, wrong)


def _unlike(outputs: Mapping[str, Any], declared: Mapping[str, Output], sizes: Mapping[str, int]) -> list[str]:
    """How outputs differ from what is declared, a sentence each."""
    import numpy as np

    if set(outputs) != set(declared):
        return [f"its outputs are {listed(outputs)}, the file's are {listed(declared)}"]
    wrong = []
    for name, output in declared.items():
        value, sizes_declared = outputs[name], [sizes[d] if isinstance(d, str) else d for d in output.shape]
        fits = len(value.shape) == len(sizes_declared) and all(
            w in (None, n) for n, w in zip(value.shape, sizes_declared, strict=True)
        )
        if not fits:
            expected = "x".join("?" if w is None else str(w) for w in sizes_declared) or "scalar"
            wrong.append(f"output '{name}' is {says(value.shape)}, by what the file says it is {expected}")
        if value.dtype.name != output.dtype:
            wrong.append(f"output '{name}' is {value.dtype}, by what the file says it is {output.dtype}")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            wrong.append(f"output '{name}' holds NaN or infinities")
    return wrong


def _run(
    running: Session,
    arrays: Mapping[str, Any],
    artifact: Artifact,
    shape: str,
    which: str = "which the model accepts",
    label: str = "",
) -> Mapping[str, Any]:
    try:
        return running(arrays)
    except CheckFailed as e:
        raise CannotRun(e.problems).at(label) from e
    except DrydockError:
        raise
    except Exception as e:  # a runtime raises anything; a shape it rejects is a finding, not a crash
        raise CannotRun(
            f"this {artifact.kind} cannot be run at {shape}, {which}: {first_line(e)}",
            allowed="every size between min and max of model.dims",
            command="a dimension was frozen on the way; capture=trace or capture=export may differ",
        ).at(label) from e
