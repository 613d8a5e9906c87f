"""Holds real samples out of calibration, for the later checks of artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional

from pipeline.artifact import Artifact, Kind
from pipeline.notes import Notes
from pipeline.stage import AtLeast
from stages.data import spec
from stages.data.origin import RequiredOrigin
from stages.formats import eager, session
from stages.formats.session import How
from stages.interface.images import Preprocessing
from stages.interface.interface import Interface
from stages.reference import cases as reference_cases
from stages.reference import questions
from stages.reference.cases import Case
from stages.samples.settings import Sampling

SHARE = 5  # of so many samples one is held out, at most


@dataclass(frozen=True)
class HoldOut(Sampling):
    """Adds real samples to the reference's questions; ranges are then not calibrated on these.

    A quantised artifact is most accurate on inputs like its calibration samples, and random numbers are unlike them.
    Where the source is random draws, or the model is a file without a module, the reference does not change, and the
    notes say so.

    Args:
        samples: The source of calibration samples, see stages/data/spec.py.
        count: How many are held out at most, 1 or more; one in five of few samples.
        preprocessing: The preprocessing of photographs.
        seed: The seed of the choice.
    """

    samples: Annotated[Any, RequiredOrigin("model.calibration")]
    count: Annotated[int, AtLeast(1)]
    preprocessing: Optional[Preprocessing]
    seed: int

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "reference": frozenset({Kind.REFERENCE}),
        "module": frozenset({Kind.MODULE}),
    }
    optional: ClassVar[frozenset[str]] = frozenset({"module"})
    produces: ClassVar[Kind | str] = Kind.REFERENCE
    repeatable: ClassVar[bool] = False

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        reference = inputs["reference"]
        if spec.is_random(self.samples):
            return _as_it_is(reference, folder, "calibration samples are random draws")
        if "module" not in inputs:
            return _as_it_is(reference, folder, "there is no PyTorch model to ask about them")
        interface = replace(Interface.read(reference), inputs=reference_cases.drawn(reference))
        rows = self.source.open(interface, self.seed)
        count = min(self.count, len(rows) // SHARE)
        if not count:
            return _as_it_is(reference, folder, f"there are {len(rows)} calibration samples")
        running = eager.open_session(session.with_interface(inputs["module"], reference), How("float32", None, {}, ()))
        further = [
            Case(q.label, q.inputs, running(q.inputs), family=q.family)
            for q in questions.of_samples(rows, interface, count, self.seed)
        ]
        cases = [*reference_cases.read(reference), *further]
        unasked, tables = reference_cases.not_asked(reference), reference_cases.tables(reference)
        reference_cases.write(folder, cases, interface.inputs, unasked, tables)
        says = f"{count} of {len(rows)} calibration samples are for checks alone"
        return Artifact(Kind.REFERENCE, folder, facts=reference.facts, notes=Notes(says=says))


def _as_it_is(reference: Artifact, folder: Path, why: str) -> Artifact:
    for file in reference.file.parent.iterdir():
        reference.share(file.name, folder)
    return Artifact(Kind.REFERENCE, folder, facts=reference.facts, notes=Notes(says=f"no samples held out: {why}"))
