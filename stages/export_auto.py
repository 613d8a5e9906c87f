"""Exports the module to ONNX by the first capture that serves: torch.export, then trace, then script."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem
from pipeline.stage import Stage, World
from stages import _attempts, _captures, _exporters, _opsets, _tolerance, _translations
from stages._attempts import Held
from stages._compare import Tolerance
from stages._exporters import Options


@dataclass(frozen=True)
class ExportAuto(Stage):
    """Captures and exports in one stage, since a capture serves only if its graph is written and agrees with the model.

    A trace that fixed a branch, for instance, is found out at another shape, and script is tried. The result says which
    capture served, and the notes why the others did not. A capture whose exporter does not write the opset is not
    tried.

    Args:
        opset: What the file declares; read back from it.
        translations: For the dynamo exporter: operator to the dotted path of an onnxscript function.
        symbolics: For the TorchScript exporter: operator to the dotted path of a symbolic function.
        keep_source: Whether nodes keep the stack traces of the model's code, names of files and all.
        tolerance: How far the graph's outputs may be from the reference.
    """

    opset: int
    translations: dict[str, str]
    symbolics: dict[str, str]
    keep_source: bool
    tolerance: Tolerance

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "module": frozenset({Kind.MODULE}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces: ClassVar[Kind | str] = Kind.ONNX
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "onnx", "onnxscript", "onnxruntime", "safetensors")
    version: ClassVar[int] = 2

    def problems(self) -> list[Problem]:
        found = _tolerance.problems(self.tolerance)
        found += _translations.problems(self.translations, overloads=True)
        found += _translations.problems(self.symbolics, overloads=False)
        return found + _opsets.either_problems(self.opset)

    def settle(self, world: World) -> Self:
        _translations.settle({**self.translations, **self.symbolics}, world)
        return self

    def identity(self, world: World) -> Mapping[str, Any]:
        named = {name: _translations.identity(getattr(self, name), world) for name in ("translations", "symbolics")}
        return {**asdict(self), **named}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        ways = {
            f"capture={how}": functools.partial(self._by, how, inputs)
            for how, opsets in _opsets.OF_CAPTURE.items()
            if self.opset in opsets
        }
        return _attempts.first(ways, Held(inputs["reference"], self.tolerance), folder)

    def _by(self, how: str, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        aside, graph = folder / "captured", folder / "graph"
        aside.mkdir()
        graph.mkdir()
        program = _captures.captured(how, inputs, aside)
        source = replace(program, facts={**inputs["module"].facts, **program.facts})
        options = Options(self.translations if how == "export" else self.symbolics, self.keep_source)
        made = _exporters.to_onnx(source, inputs["reference"], self.opset, options, graph)
        notes = {**made.notes, "caution": program.notes.get("caution", "")}
        return replace(made, facts={**made.facts, "capture": how}, notes=notes)
