"""Checks an artifact against the PyTorch model, and passes it through only when it agrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pipeline import formats
from pipeline.artifact import Artifact, Kind
from pipeline.errors import CheckFailed, listed
from stages.checking import blame as layer_blame
from stages.formats import graphs, session
from stages.formats.extensions import Extensions
from stages.formats.running import COMPUTE, Running
from stages.formats.session import How, Session
from stages.portable.comparison import Tolerance
from stages.portable.vendor_errors import first_line
from stages.reference import artifact_cases, parity, tables
from stages.reference import cases as reference_cases
from stages.reference.parity import CannotRun, Parity
from stages.reference.tolerance import Within

if TYPE_CHECKING:
    from stages.checking.cause import Explained

MOST = 24  # sentences on what is wrong: a decoder's cache has some for each block and question
# Its kernels for float16 are few: it keeps what the others make in float32 as long as it can.
OVERFLOWS = (
    "float16 cannot hold all values within it: devices that compute in it would answer NaN or infinities, though "
    "onnxruntime's CPU does not"
)


@dataclass(frozen=True)
class Check(Running):
    """Runs an artifact on the reference's inputs, at every recorded shape, and compares the outputs.

    Shapes, types and the places of NaN and infinities must be equal, floating-point values within the tolerance,
    all others equal. The artifact passes through unchanged, so the next stage's key does not depend on this one's.

    A module is run by torch.compile(backend="openvino"), and is taken only from a stage that `needs` names. Where
    a file's own framework is not installed, the artifact still runs at every shape, and is called not checked.

    Where the check fails, it searches for the operator that diverges first and says what to try; see cause.py.

    onnxruntime's CPU computes most of a float16 graph in float32. So the values between operations are also compared
    with float16's range, at the shape with the largest error.

    Args:
        compute: The type that the artifact must compute in during the check; set and read back.
        properties: The runtime's own settings by its own names, such as EXECUTION_MODE_HINT; each is read back.
        extensions: Operations that the runtime does not have by itself, by path; see compile_openvino.
        tolerance: How far outputs may be from the reference.
        blame: Whether to look for the layers that cause the error even where the artifact agrees. Where an artifact of
            fewer bits fails, they are always reported.
    """

    compute: Annotated[str, COMPUTE]
    properties: dict[str, str]
    extensions: Annotated[list[str], Extensions()]
    tolerance: Annotated[Tolerance, Within()]
    blame: bool

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "artifact": formats.kinds("runtime"),
        "reference": frozenset({Kind.REFERENCE}),
    }
    on_request: ClassVar[Mapping[str, frozenset[Kind]]] = {"artifact": session.ON_REQUEST}
    produces: ClassVar[Kind | str] = "artifact"
    requires: ClassVar[tuple[str, ...]] = ("numpy", "safetensors")
    isolable: ClassVar[bool] = True

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        artifact = inputs["artifact"]
        ready = session.with_interface(artifact, inputs["reference"])
        running = session.open_session(ready, self.compute, properties=self.properties, extensions=self.extensions)
        if reference_cases.UNANSWERED in inputs["reference"].facts:
            session.must_compute_in(self.compute, running.computes_in)
            return _unchecked(artifact, running, inputs["reference"])
        try:
            result = parity.measure(artifact, running, inputs["reference"], self.tolerance)
        except CannotRun as e:
            explanation = self._explained(ready, inputs["reference"], [p.what for p in e.problems], {e.label: ""})
            problems = [replace(p, what=p.what + explanation.sentence, command=explanation.command) for p in e.problems]
            raise CheckFailed(problems) from e
        session.must_compute_in(self.compute, running.computes_in, graphs.its_own(artifact))
        computes_in, properties, assumed = running.computes_in, dict(running.properties), session.assumed(running)
        del running  # and its copy of the weights, before anything else reads them
        model = reference_cases.stands_for(inputs["reference"])
        blamed = self._blamed(artifact, inputs["reference"], result) if result.wrong or self.blame else None
        caution = ""
        if not result.wrong and artifact.kind in formats.kinds("largest") and self.compute == "float16":
            try:
                over = self._blamed(artifact, inputs["reference"], result, overflowing=True)
            except Exception as e:  # onnxruntime raises anything; then the range was not checked
                over = None
                caution = f"values between operations were not compared with float16's range: {first_line(e)}"
            if over is not None and over.layers:
                blamed = over
                result = replace(result, wrong=[OVERFLOWS])
        if result.wrong:
            from stages.checking import unlike  # here, as is cause: most checks have nothing to explain

            shown = result.wrong if len(result.wrong) <= MOST else result.wrong[:MOST]
            wrong = "\n    ".join(shown)
            if more := len(result.wrong) - len(shown):
                wrong += f"\n    and {more} more, at {listed(result.failing, 4)}"
            # Fewer bits are to blame where a layer with fewer bits is found; otherwise the conversion is.
            sentence, command = (blamed.sentence, blamed.command) if blamed else ("", "")
            if not (blamed and blamed.layers):
                explanation = self._explained(ready, inputs["reference"], result.wrong, result.failing)
                sentence, command = sentence + explanation.sentence, explanation.command
            if (other := unlike.explained(artifact, result)) is not None:
                sentence, command = other.sentence + sentence, f"{other.command}; else {command}"
            raise CheckFailed(
                f"this {artifact.kind} does not agree with {model}\n    {wrong}{sentence}",
                allowed=str(self.tolerance),
                command=command,
            )
        not_compared = self._tables(artifact, inputs["reference"], model)
        notes = layer_blame.BlameNotes(
            says=f"worst relative error {result.worst:.1e}"
            + (f", {len(result.families)} families of values among it" if result.families else "")
            + (f"; it does not take {listed(result.left_out, 4)}" if result.left_out else "")
            + "".join(f"; the model itself determines {n} to {s:.0e} alone" for n, s in result.undetermined.items())
            + (f"; not judged: {listed(result.unsure, 2)}" if result.unsure else "")
            + (f"; NOT CHECKED: rows of {listed(not_compared)}" if not_compared else ""),
            parity={
                "runtime": session.name(artifact.kind),
                "computes_in": computes_in,
                "properties": properties,
                "against": model,
                "cases": result.cases,
                "left_out": list(result.left_out),
                "not_judged": list(result.unsure),
            },
            claims={
                "parity": {
                    "against": model,
                    "tolerance": asdict(self.tolerance),
                    "compute": self.compute,
                    "properties": dict(self.properties),
                    "shapes": result.shapes,
                    "families": result.families,
                    "not_asked": {
                        **reference_cases.not_asked(inputs["reference"]),
                        **not_compared,
                        **assumed,
                        **dict.fromkeys(result.not_taken, "the artifact does not take it, its interface being another"),
                    },
                }
            },
        )
        if blamed:
            notes.update(blamed.notes)
        open_questions = {**not_compared, **assumed}
        cautions = [caution, *(f"NOT CHECKED: {name}, {why}" for name, why in open_questions.items())]
        if any(cautions):
            notes["caution"] = "; ".join(filter(None, cautions))
        return replace(artifact, notes=notes)

    def _tables(self, artifact: Artifact, reference: Artifact, model: str) -> dict[str, str]:
        """By table, why the rows that no question looks up are not checked. Raises CheckFailed for rows that differ."""
        if not (recorded := reference_cases.tables(reference)):
            return {}
        shapes, matrices = {shape for table in recorded for shape in table.shapes}, []
        if artifact.kind in formats.kinds("constants"):
            constants = formats.part(artifact.kind, "constants")
            matrices = list(constants.matrices(artifact.file, self.extensions, shapes))
        wrong, not_compared = tables.compared(recorded, matrices)
        if wrong:
            raise CheckFailed(
                f"this {artifact.kind} does not have the rows of {model}: {listed(wrong)}",
                allowed="the numbers of the state dict, but for rounding",
                command="the stage just before this check brought the error in: the checks before it passed",
            )
        return not_compared

    def _explained(
        self, artifact: Artifact, reference: Artifact, wrong: Sequence[str], failing: Mapping[str, str]
    ) -> Explained:
        from stages.checking import cause

        how = How(self.compute, None, self.properties, self.extensions)
        return cause.explained(cause.Failure(artifact, reference, wrong, failing, how, self.tolerance))

    def _blamed(
        self, artifact: Artifact, reference: Artifact, result: Parity, *, overflowing: bool = False
    ) -> layer_blame.Blamed | None:
        adapted = (
            artifact_cases.case_for(artifact, c) for c in reference_cases.read(reference) if c.label == result.suspect
        )
        case = next(adapted)
        return (
            None
            if case is None
            else layer_blame.layers(artifact, case.inputs, self.compute, self.extensions, overflowing=overflowing)
        )


def _unchecked(artifact: Artifact, running: Session, reference: Artifact) -> Artifact:
    result = parity.unanswered(artifact, running, reference)
    model, why = reference_cases.stands_for(reference), reference.facts[reference_cases.UNANSWERED]
    if result.wrong:
        raise CheckFailed(
            f"this {artifact.kind} is not what {model} says of itself\n    " + "\n    ".join(result.wrong),
            allowed="the outputs that the file names, of the shapes and types that it says, finite",
            command=f"the framework itself would show which is right: {why}",
        )
    return artifact.noting(
        says=f"NOT CHECKED against {model}: {why}; runs at {len(result.cases)} shapes",
        unchecked={
            "runtime": str(artifact.kind),
            "computes_in": running.computes_in,
            "against": model,
            "why": why,
            "cases": result.cases,
        },
        claims={"unchecked": {"against": model, "why": why, "shapes": result.shapes}},
    )
