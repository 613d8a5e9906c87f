"""Inputs that ranges were not calibrated for: where an artifact agrees on real samples and is off on drawn ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.artifact import Artifact
from stages.data import spec
from stages.interface.interface import Interface
from stages.reference.parity import Parity
from stages.reference.questions import SAMPLES


@dataclass(frozen=True)
class Unlike:
    """The likely cause of a failure, before any list of layers.

    Args:
        sentence: For a message that something failed.
        command: What draws inputs like the samples.
    """

    sentence: str
    command: str


def told(artifact: Artifact, found: Parity) -> Unlike | None:
    """That what fails was drawn, while all real samples agree; None where that is not so, or ranges are not calibrated.

    Args:
        artifact: What failed.
        found: What the comparison came to.
    """
    samples = (artifact.facts.get("quantization") or {}).get("samples")
    real = [c["label"] for c in found.cases if str(c["label"]).startswith(SAMPLES)]
    if samples is None or samples["from"] == spec.says({"source": spec.RANDOM}):
        return None
    if not real or set(real) & found.failing.keys():
        return None
    sentence = (
        f"\n    the likely cause: ranges are calibrated on {samples['count']} samples ({samples['from']}). It agrees on"
        f" the {_batches(real)} held out of these, and is off only where inputs are drawn as model.inputs says"
    )
    name = next(iter(Interface.of(artifact).inputs))
    fill = "{image: FILE}" if samples["from"] == "images" else "{file: FILE.npz}"
    like = "a photograph like those" if samples["from"] == "images" else "inputs like those, by name"
    return Unlike(sentence, f"'model.inputs.{name}.fill={fill}', {like}")


def _batches(labels: Iterable[str]) -> str:
    count = len(list(labels))
    return f"{count} batches" if count > 1 else "batch"
