"""The files of a reference: the questions, and the PyTorch model's answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact, Kind
from stages.frameworks import formats as file_formats
from stages.interface import fills as example_fills
from stages.interface.interface import Input, Interface
from stages.reference import families, padding

if TYPE_CHECKING:
    import numpy as np

    from stages.reference.tables import Table

    Arrays = Mapping[str, np.ndarray[Any, Any]]

CASES = "cases.json"
TABLE = ("seen", "marks", "sizes")
UNANSWERED = "unanswered"  # the fact that there are no answers, and why


@dataclass(frozen=True)
class Case:
    """One question of the reference, and its answer.

    Args:
        label: "example", "min", "odd", "max", other sizes, a family of values, or "photograph" and a number.
        inputs: Arrays by name.
        outputs: Arrays by name, as the eager module returned them; none where the model could not be run.
        raw: The photograph that an input was prepared from, uint8 [batch, height, width, 3], RGB, by the input's name.
        family: How far the inputs are from what the YAML draws; one of families.LEVELS.
        ties: The operators of the model that decided between numbers closer than rounding, in words.
        exact: The model's answers in float64, by the names of floating-point outputs; none where that is not known.
        open: What float32 leaves open besides: for such outputs, the error of the model with other formulas of its
            functions, as rms and as the largest magnitude; see formulas.py.
        counts: For outputs that mean nothing at padding, where they count: booleans that broadcast to them; see
            padding.py.
    """

    label: str
    inputs: Arrays
    outputs: Arrays
    raw: Arrays = field(default_factory=dict)
    family: str = families.SIZES
    ties: Sequence[str] = ()
    exact: Arrays = field(default_factory=dict)
    open: Mapping[str, Sequence[float]] = field(default_factory=dict)
    counts: Arrays = field(default_factory=dict)

    def counted(self, outputs: Arrays) -> Arrays:
        """Outputs with zeros where they do not count."""
        return padding.without(outputs, self.counts) if self.counts else outputs


def stands_for(reference: Artifact) -> str:
    """What gave the answers, in words: where a file is converted there is no PyTorch model."""
    if "format" in reference.facts.get(file_formats.SOURCE, {}):
        return f"the {file_formats.format_of(reference).says}"
    return "the ONNX file" if "onnx" in reference.facts.get("source", {}) else "the PyTorch model"


def write(
    folder: Path,
    cases: Sequence[Case],
    inputs: Mapping[str, Input],
    not_asked: Mapping[str, str],
    tables: Sequence[Table] = (),
) -> None:
    """Writes reference.safetensors, and cases.json with its contents, how they were drawn, what is missing and why.

    A tensor "<label>/<name>" is an input or output, "<label>/raw/<name>" a photograph, "<label>/exact/<name>" an output
    in float64, "tables/<name>/<field>" a field of a table.
    """
    import numpy as np
    from safetensors.numpy import save_file

    arrays = {f"{c.label}/{n}": v for c in cases for n, v in {**c.inputs, **c.outputs}.items()}
    arrays |= {f"{c.label}/raw/{n}": v for c in cases for n, v in c.raw.items()}
    arrays |= {f"{c.label}/exact/{n}": v for c in cases for n, v in c.exact.items()}
    arrays |= {f"tables/{t.name}/{n}": getattr(t, n) for t in tables for n in TABLE}
    # safetensors writes the memory as it lies, whatever order the dimensions have in it.
    save_file({n: np.asarray(v, order="C") for n, v in arrays.items()}, folder / Kind.REFERENCE.file)
    names = {
        "cases": [
            {"label": c.label, "family": c.family, "ties": list(c.ties), "exact": list(c.exact), "open": dict(c.open)}
            for c in cases
        ],
        "inputs": list(cases[0].inputs),
        "outputs": list(cases[0].outputs),
        "raw": {c.label: list(c.raw) for c in cases if c.raw},
        "not_asked": dict(not_asked),
        "tables": {t.name: t.width for t in tables},
        "fills": {n: s.fill for n, s in inputs.items() if example_fills.is_drawn(s)},
    }
    (folder / CASES).write_text(json.dumps(names, indent=1) + "\n")


def drawn(reference: Artifact) -> dict[str, Input]:
    """The model's inputs with their fills; uniform numbers where examples came from files."""
    fills = json.loads(reference.file.with_name(CASES).read_text())["fills"]
    inputs = Interface.read(reference).inputs
    return {n: replace(s, fill=fills[n]) if n in fills else example_fills.default(s) for n, s in inputs.items()}


def not_asked(reference: Artifact) -> dict[str, str]:
    """The families of values that were not asked, and why."""
    reasons: dict[str, str] = json.loads(reference.file.with_name(CASES).read_text())["not_asked"]
    return reasons


def labels(reference: Artifact) -> dict[str, str]:
    """The family of each case by its label, in the order in which they were recorded."""
    cases = json.loads(reference.file.with_name(CASES).read_text())["cases"]
    return {case["label"]: case["family"] for case in cases}


def read(reference: Artifact) -> Iterator[Case]:
    """The cases of a reference, in the order in which they were recorded: the example first, other values last."""
    from safetensors import safe_open

    names = json.loads(reference.file.with_name(CASES).read_text())
    places = padding.followed(drawn(reference), Interface.read(reference).outputs)
    for case in names["cases"]:
        # Opened for each case, and closed: a file that is mapped counts as memory of this process.
        with safe_open(reference.file, "numpy") as arrays:
            label, load = case["label"], arrays.get_tensor
            inputs, outputs = ({n: load(f"{label}/{n}") for n in names[which]} for which in ("inputs", "outputs"))
            raw = {n: load(f"{label}/raw/{n}") for n in names["raw"].get(label, ())}
            exact = {n: load(f"{label}/exact/{n}") for n in case["exact"]}
        counts = padding.valid(inputs, outputs, places) if outputs else {}
        yield Case(label, inputs, outputs, raw, case["family"], case["ties"], exact, case["open"], counts)


def tables(reference: Artifact) -> list[Table]:
    """The tables of embeddings that rows were looked up in."""
    from safetensors import safe_open

    from stages.reference.tables import Table

    widths = json.loads(reference.file.with_name(CASES).read_text())["tables"]
    with safe_open(reference.file, "numpy") as arrays:
        return [
            Table(name, width, *(arrays.get_tensor(f"tables/{name}/{n}") for n in TABLE))
            for name, width in widths.items()
        ]


def at_sizes(reference: Artifact) -> Iterator[Case]:
    """Those of the draws that the YAML says, at each size; none of other values."""
    return (case for case in read(reference) if case.family == families.SIZES)
