"""The README of a bundle, written from the model's record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.artifact import Artifact, Kind
from stages.delivery import bundle
from stages.interface.images import Preprocessing
from stages.interface.interface import Dim, Interface
from stages.openvino.blob import Ties
from stages.portable import handed_over, selfcheck
from stages.reference import as_met
from stages.reference.cases import Case

ONNX = """\
import numpy as np
import onnxruntime

model = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])
outputs = dict(zip({names}, model.run({names}, {given})))
"""
OPENVINO = """\
import numpy as np
import openvino

model = openvino.Core().compile_model("{file}", "CPU", {settings})
returned = model({given})
outputs = {{name: returned[name] for name in {names}}}
"""
BLOB = """\
from pathlib import Path

import numpy as np
import openvino

model = openvino.Core().import_model(Path("{file}").read_bytes(), "{device}", {settings})
returned = model({given})
outputs = {{name: returned[name] for name in {names}}}
"""
LOADING = {Kind.ONNX: ONNX, Kind.OPENVINO: OPENVINO, Kind.OPENVINO_BLOB: BLOB}


@dataclass(frozen=True)
class Readme:
    """What there is to say of a delivered model.

    Args:
        artifact: With its record.
        file: What the delivered file is called.
        cases: What was asked of it; the first stands in the example.
        license: None where nobody stated it.
        labels: How many there are in labels.txt; 0 for none.
        preprocessing: What a photograph goes through before it is an input; None where nobody stated it.
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
            *([("only for", str(Ties(**facts["blob"])))] if "blob" in facts else []),
            ("made by", f"Drydock {record['drydock']}; `artifact.json` is the whole record"),
        )

    def _interface(self) -> Iterator[str]:
        interface = Interface.of(self.artifact)
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
        images = as_met.of(self.artifact).images
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
        case, kind = self.cases[0], self.artifact.kind
        given = ", ".join(f'"{n}": np.zeros({v.shape}, "{v.dtype}")' for n, v in case.inputs.items())
        names = list(Interface.of(self.artifact).outputs)
        ties = self.artifact.facts.get("blob", {})
        asked = {**ties.get("properties", {}), **self._claim.get("properties", {})}
        settings = {**asked, selfcheck.PRECISION: selfcheck.HINTS[self._claim["compute"]]}
        code = LOADING[kind].format(
            file=self.file,
            device=ties.get("device"),
            settings=json.dumps(settings),
            given=f"{{{given}}}",
            names=json.dumps(names),
        )
        yield "## Loading it"
        yield f"```python\n{code}```"
        if kind is not Kind.ONNX:
            hint = f"`{selfcheck.PRECISION}`"
            yield f"Without {hint}, OpenVINO chooses by itself what it computes in: on many CPUs that is bfloat16."

    def _checking(self) -> Iterator[str]:
        claim = self._claim
        yield "## Checked"
        if "why" in claim:
            yield f"NOT CHECKED against {claim['against']}: {claim['why']}. It ran at {', '.join(claim['shapes'])}."
        else:
            limits = ", ".join(f"{n} {v:g}" for n, v in claim["tolerance"].items() if isinstance(v, float | int))
            yield f"It agrees with {claim['against']} at {', '.join(claim['shapes'])}: {limits}."
        needs = selfcheck.RUNTIMES[str(self.artifact.kind)]
        yield (
            f"With nothing but {needs} and numpy, `python {bundle.SCRIPT}` holds the files to what was delivered, "
            f"runs the model on `{bundle.REFERENCE}`, compares its answers within that tolerance, and times it. Exit "
            "code 0: all of it holds; 5: something does not. `--help` has the rest."
        )


def _table(head: Sequence[str], *rows: Sequence[str]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _shape(shape: Sequence[Any]) -> str:
    return "x".join("?" if d is None else str(d) for d in shape) or "scalar"


def _range(name: str, dim: Dim) -> str:
    return f"`{name}` {dim.min} to {dim.max}" + (f", multiples of {dim.multiple}" if dim.multiple > 1 else "")
