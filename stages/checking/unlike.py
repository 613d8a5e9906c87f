"""Causes that an artifact's own settings explain: calibrated ranges that drawn inputs exceed, a cache in fewer bits."""

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
        sentence: For the message of a failed check.
        command: The setting that draws inputs like the samples.
    """

    sentence: str
    command: str


def explained(artifact: Artifact, parity: Parity) -> Unlike | None:
    """The cause if a cache is in fewer bits, or if only drawn inputs fail while all real samples agree; else None.

    Args:
        artifact: The artifact that failed.
        parity: The result of the comparison.
    """
    cache = (artifact.facts.get("stateful") or {}).get("cache", EXACT)
    if cache != EXACT:
        sentence = f"\n    the likely cause: its cache is kept in {cache or 'what its runtime chooses'}"
        return Unlike(sentence, WIDER)
    samples = (artifact.facts.get("quantization") or {}).get("samples")
    real = [c["label"] for c in parity.cases if str(c["label"]).startswith(SAMPLES)]
    if samples is None or samples["from"] == spec.says({"source": spec.RANDOM}):
        return None
    if not real or set(real) & parity.failing.keys():
        return None
    sentence = (
        f"\n    the likely cause: ranges are calibrated on {samples['count']} samples ({samples['from']}). It agrees on"
        f" the {_batches(real)} held out of these, and is off only where inputs are drawn as model.inputs says"
    )
    name = next(iter(Interface.read(artifact).inputs))
    fill = "{image: FILE}" if samples["from"] == "images" else "{file: FILE.npz}"
    like = "a photograph like those" if samples["from"] == "images" else "inputs like those, by name"
    return Unlike(sentence, f"'model.inputs.{name}.fill={fill}', {like}")


def _batches(labels: Iterable[str]) -> str:
    count = len(list(labels))
    return f"{count} batches" if count > 1 else "batch"
