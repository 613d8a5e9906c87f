"""The files of a reference: what the PyTorch model was asked, and what it answered."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import FILES, Artifact, Kind
from stages import _formats

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray[Any, Any]]

CASES = "cases.json"
UNANSWERED = "unanswered"  # the fact that nothing gave answers, and why


@dataclass(frozen=True)
class Case:
    """One shape of the reference.

    Args:
        label: "example", "min", "odd" or "max".
        inputs: Arrays by name.
        outputs: Arrays by name, as the eager module returned them; none where nothing could be asked.
    """

    label: str
    inputs: Arrays
    outputs: Arrays


def stands_for(reference: Artifact) -> str:
    """What gave the answers, in words: a file that is converted has no PyTorch model to be held to."""
    if "format" in reference.facts.get(_formats.SOURCE, {}):
        return f"the {_formats.of(reference).says}"
    return "the ONNX file" if "onnx" in reference.facts.get("source", {}) else "the PyTorch model"


def write(folder: Path, cases: Sequence[Case]) -> None:
    """Writes reference.safetensors, with a tensor "<label>/<name>" for each array, and cases.json beside it."""
    from safetensors.numpy import save_file

    arrays = {f"{c.label}/{n}": v for c in cases for n, v in {**c.inputs, **c.outputs}.items()}
    save_file(arrays, folder / FILES[Kind.REFERENCE])
    names = {"labels": [c.label for c in cases], "inputs": list(cases[0].inputs), "outputs": list(cases[0].outputs)}
    (folder / CASES).write_text(json.dumps(names, indent=1) + "\n")


def read(reference: Artifact) -> Iterator[Case]:
    """The cases of a reference, in the order in which they were recorded."""
    from safetensors.numpy import load_file

    arrays = load_file(reference.file)
    names = json.loads(reference.file.with_name(CASES).read_text())
    for label in names["labels"]:
        inputs, outputs = ({n: arrays[f"{label}/{n}"] for n in names[which]} for which in ("inputs", "outputs"))
        yield Case(label, inputs, outputs)
