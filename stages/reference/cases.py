"""The files of a reference: what the PyTorch model was asked, and what it answered."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import FILES, Artifact, Kind
from stages.frameworks import formats as file_formats
from stages.interface import fills as example_fills
from stages.interface.interface import Input, Interface

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray[Any, Any]]

CASES = "cases.json"
UNANSWERED = "unanswered"  # the fact that nothing gave answers, and why


@dataclass(frozen=True)
class Case:
    """One shape of the reference.

    Args:
        label: "example", "min", "odd", "max", sizes that were asked for, or "photograph" and a number.
        inputs: Arrays by name.
        outputs: Arrays by name, as the eager module returned them; none where nothing could be asked.
        raw: The photograph that an input was prepared from, uint8 [batch, height, width, 3], RGB, by the input's name.
    """

    label: str
    inputs: Arrays
    outputs: Arrays
    raw: Arrays = field(default_factory=dict)


def stands_for(reference: Artifact) -> str:
    """What gave the answers, in words: a file that is converted has no PyTorch model to be held to."""
    if "format" in reference.facts.get(file_formats.SOURCE, {}):
        return f"the {file_formats.of(reference).says}"
    return "the ONNX file" if "onnx" in reference.facts.get("source", {}) else "the PyTorch model"


def write(folder: Path, cases: Sequence[Case], inputs: Mapping[str, Input]) -> None:
    """Writes reference.safetensors and cases.json, which says what is in it and how it was drawn.

    A tensor "<label>/<name>" is an input or output, "<label>/raw/<name>" a photograph.
    """
    import numpy as np
    from safetensors.numpy import save_file

    arrays = {f"{c.label}/{n}": v for c in cases for n, v in {**c.inputs, **c.outputs}.items()}
    arrays |= {f"{c.label}/raw/{n}": v for c in cases for n, v in c.raw.items()}
    # safetensors writes the memory as it lies, whatever order the dimensions have in it.
    save_file({n: np.asarray(v, order="C") for n, v in arrays.items()}, folder / FILES[Kind.REFERENCE])
    names = {
        "labels": [c.label for c in cases],
        "inputs": list(cases[0].inputs),
        "outputs": list(cases[0].outputs),
        "raw": {c.label: list(c.raw) for c in cases if c.raw},
        "fills": {n: s.fill for n, s in inputs.items() if example_fills.is_drawn(s)},
    }
    (folder / CASES).write_text(json.dumps(names, indent=1) + "\n")


def drawn(reference: Artifact) -> dict[str, Input]:
    """The model's inputs with how examples of them are drawn; where that is from files, uniform numbers instead."""
    fills = json.loads(reference.file.with_name(CASES).read_text())["fills"]
    inputs = Interface.of(reference).inputs
    return {n: replace(s, fill=fills[n]) if n in fills else example_fills.default(s) for n, s in inputs.items()}


def read(reference: Artifact) -> Iterator[Case]:
    """The cases of a reference, in the order in which they were recorded."""
    from safetensors.numpy import load_file

    arrays = load_file(reference.file)
    names = json.loads(reference.file.with_name(CASES).read_text())
    for label in names["labels"]:
        inputs, outputs = ({n: arrays[f"{label}/{n}"] for n in names[which]} for which in ("inputs", "outputs"))
        raw = {n: arrays[f"{label}/raw/{n}"] for n in names["raw"].get(label, ())}
        yield Case(label, inputs, outputs, raw)
