"""Draws the samples for calibrating the ranges of a quantised artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional

from pipeline.artifact import Artifact, Kind
from pipeline.errors import listed
from pipeline.notes import Notes
from pipeline.stage import AtLeast
from stages.data import spec
from stages.data.origin import RequiredOrigin
from stages.interface.images import Preprocessing
from stages.interface.interface import Interface
from stages.reference import cases as reference_cases
from stages.samples import files as sample_files
from stages.samples.files import Samples
from stages.samples.settings import Sampling


@dataclass(frozen=True)
class DrawSamples(Sampling):
    """Samples of a source, chosen by a seed, without those that artifacts are checked with.

    Args:
        samples: Their source, see stages/data/spec.py. Its content is part of the key.
        count: How many at most, 1 or more; the notes give the number.
        preprocessing: The preprocessing of photographs.
        seed: The seed of the choice, and of random draws.
    """

    samples: Annotated[Any, RequiredOrigin("model.calibration")]
    count: Annotated[int, AtLeast(1)]
    preprocessing: Optional[Preprocessing]
    seed: int

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"reference": frozenset({Kind.REFERENCE})}
    produces: ClassVar[Kind | str] = Kind.SAMPLES

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        reference = inputs["reference"]
        interface = replace(Interface.read(reference), inputs=reference_cases.drawn(reference))
        rows = self.source.open(interface, self.seed)
        samples = sample_files.draw(rows, self.count, self.seed, sample_files.of_reference(reference))
        sample_files.write(samples, Kind.SAMPLES, folder)
        about = {"from": spec.says(self.samples), "count": len(samples), "seed": self.seed}
        aside = f"; {samples.left_out} more are what artifacts are checked with" if samples.left_out else ""
        says = f"{len(samples)} samples, {about['from']}" + aside
        guess = f"calibrates on {says}: accuracy is unknown" if spec.is_random(self.samples) else ""
        notes = Notes(says=says)
        if cautions := [c for c in (rows.caution, guess, _narrow(samples)) if c]:
            notes["caution"] = "; ".join(cautions)
        return Artifact(Kind.SAMPLES, folder, facts={sample_files.FACT: about}, notes=notes)


def _narrow(samples: Samples) -> str:
    """Why ranges that are fitted to these samples are of little use; empty where nothing shows that."""
    if alike := [name for name, values in samples.inputs.items() if values.size and (values == values.flat[0]).all()]:
        return f"{listed(alike)}: one number in all {len(samples)} samples, and ranges are fitted to that"
    if len(set(samples.digests)) == 1:
        equal = f"{len(samples)} samples, all of them equal" if len(samples) > 1 else "one sample"
        return f"{equal}: ranges are fitted to one input"
    return ""
