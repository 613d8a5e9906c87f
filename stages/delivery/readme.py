"""The README of a bundle, written from the model's record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.artifact import Artifact
from stages.delivery import bundle
from stages.interface.images import Preprocessing
from stages.interface.interface import Dim, Interface
from stages.portable import handed_over
from stages.reference import artifact_cases
from stages.reference.cases import Case


@dataclass(frozen=True)
class Readme:
    """The README's text for a delivered model.

    Args:
        artifact: The artifact, with its record.
        file: The name of the delivered file.
        cases: The reference cases; the first one is in the example.
        license: None where it is not stated.
        labels: How many there are in labels.txt; 0 for none.
        preprocessing: How photographs become an input; None where it is not stated.
    """

    artifact: Artifact
    file: str
    cases: Sequence[Case]
    license: str | None
    labels: int
    preprocessing: Preprocessing | None

    def __str__(self) -> str:
        parts = [*self._head(), *self._interface(), *self._photographs(), *self._loading(), *self._checking()]
        return "\n\n".join(parts) + "\n"

    @property
    def _form(self) -> bundle.Bundle | None:
        return bundle.format_part(self.artifact)

    @property
    def _record(self) -> Mapping[str, Any]:
        assert self.artifact.record is not None
        return self.artifact.record

    @property
    def _claim(self) -> Mapping[str, Any]:
        return {"compute": self._record["precision"]["compute"], **(handed_over.verdict(self._record) or {})}

    def _head(self) -> Iterator[str]:
        record, facts = self._record, self.artifact.facts
        weights = facts.get("weights", {})
        yield f"# {record['model']}"
        if weights.get("trained") is False:
            yield "**UNTRAINED**: its answers mean nothing."
        precision = record["precision"]
        opset = f", opset {facts['opset']}" if "opset" in facts else ""
        yield _table(
            ("", ""),
            ("file", f"`{self.file}`, {record['kind']}{opset}"),
            ("precision", f"{precision['name']}; computes in {self._claim['compute']}"),
            ("weights", weights.get("says", "not stated")),
            ("licence", self.license or "not stated"),
            *([("only for", only_for)] if (only_for := self._form.only_for(facts) if self._form else "") else []),
            ("made by", f"Drydock {record['drydock']}; `artifact.json` is the whole record"),
        )

    def _interface(self) -> Iterator[str]:
        interface = Interface.read(self.artifact)
        yield "## Inputs and outputs"
        yield _table(
            ("", "name", "shape", "type"),
            *(("input", f"`{n}`", _shape(s.shape), s.dtype) for n, s in interface.inputs.items()),
            *(("output", f"`{n}`", _shape(o.shape), o.dtype) for n, o in interface.outputs.items()),
        )
        if interface.dims:
            yield "Dynamic dimensions: " + "; ".join(_range(n, d) for n, d in interface.dims.items()) + "."
        if self.labels:
            yield f"`{bundle.LABELS}` names the {self.labels} scores, a line each, in order."
        else:
            yield "Labels: not stated."

    def _photographs(self) -> Iterator[str]:
        yield "## Preprocessing"
        images = artifact_cases.edits_of(self.artifact).images
        if images is not None:
            yield f"Compiled in: it takes raw {images.color} photographs, uint8, {images.layout}, of any size."
        elif self.preprocessing is None:
            yield "Not stated: inputs are what the table says."
        else:
            how = self.preprocessing
            resize = f"to {how.resize} (height, width)" if isinstance(how.resize, list) else f"to {how.resize} pixels"
            side = "" if isinstance(how.resize, list) else "the shorter side "
            yield (
                f"Of a photograph: {side}scaled {resize}, {how.interpolation} with antialiasing; the middle cut out; "
                f"{how.color}, {how.layout}; `(pixels / {how.scale:g} - {how.mean}) / {how.std}`."
            )

    def _loading(self) -> Iterator[str]:
        case, form = self.cases[0], self._form
        if form is None:
            return
        arrays = ", ".join(f'"{n}": np.zeros({v.shape}, "{v.dtype}")' for n, v in case.inputs.items())
        names = json.dumps(list(Interface.read(self.artifact).outputs))
        yield "## Loading it"
        yield f"```python\n{form.loading(self.file, f'{{{arrays}}}', names, self.artifact.facts, self._claim)}```"
        if form.ADVICE:
            yield form.ADVICE

    def _checking(self) -> Iterator[str]:
        claim = self._claim
        yield "## Checked"
        if "why" in claim:
            yield f"NOT CHECKED against {claim['against']}: {claim['why']}. It ran at {', '.join(claim['shapes'])}."
        else:
            limits = ", ".join(f"{n} {v:g}" for n, v in claim["tolerance"].items() if isinstance(v, float | int))
            yield f"It agrees with {claim['against']} at {', '.join(claim['shapes'])}: {limits}."
        needs = " and ".join(dict.fromkeys((bundle.needs(self.artifact), "numpy")))
        yield (
            f"With nothing but {needs}, `python {bundle.SCRIPT}` compares the files with what was delivered, "
            f"runs the model on `{bundle.REFERENCE}`, compares its answers within that tolerance, and times it. Exit "
            "code 0: all of it holds; 5: something does not. `--help` has the rest."
        )


def _table(head: Sequence[str], *rows: Sequence[str]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _shape(shape: Sequence[Any]) -> str:
    return "x".join("?" if d is None else str(d) for d in shape) or "scalar"


def _range(name: str, dim: Dim) -> str:
    return f"`{name}` {dim.min} to {dim.max}" + (f", multiples of {dim.multiple}" if dim.multiple > 1 else "")
