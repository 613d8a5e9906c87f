"""What an artifact was made to be: ranges that drawn inputs are not like, a cache that is kept in fewer bits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.artifact import Artifact
from stages.data import spec
from stages.interface.interface import Interface
from stages.reference.parity import Parity
from stages.reference.questions import SAMPLES

EXACT = "float32"
WIDER = (
    f"stages.stateful.cache={EXACT}; or 'tolerance@stages.check_stateful.tolerance=int8_weights' "
    "'tolerance@stages.check_generation.tolerance=int8_weights'"
)


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
    """That a cache is kept in fewer bits, or that what fails was drawn, while all real samples agree; None otherwise.

    Args:
        artifact: What failed.
        found: What the comparison came to.
    """
    kept = (artifact.facts.get("stateful") or {}).get("cache", EXACT)
    if kept != EXACT:
        sentence = f"\n    the likely cause: its cache is kept in {kept or 'what its runtime chooses'}"
        return Unlike(sentence, WIDER)
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
