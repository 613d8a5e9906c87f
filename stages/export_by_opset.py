"""Exports a captured program to ONNX with the exporter of torch's that takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem
from pipeline.stage import Stage, World
from stages import _exporters, _opsets, _translations
from stages._exporters import Options


@dataclass(frozen=True)
class ExportByOpset(Stage):
    """As export_onnx does with a program of torch.export, as export_torchscript does with a traced module.

    Args:
        opset: What the file declares; read back from it.
        translations: For the dynamo exporter: operator to the dotted path of an onnxscript function.
        symbolics: For the TorchScript exporter: operator to the dotted path of a symbolic function.
        keep_source: Whether nodes keep the stack traces of the model's code, names of files and all.
    """

    opset: int
    translations: dict[str, str]
    symbolics: dict[str, str]
    keep_source: bool

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "program": frozenset({Kind.EXPORTED, Kind.TORCHSCRIPT}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces: ClassVar[Kind | str] = Kind.ONNX
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "onnx", "onnxscript", "safetensors")

    def problems(self) -> list[Problem]:
        found = _translations.problems(self.translations, overloads=True)
        found += _translations.problems(self.symbolics, overloads=False)
        return found + _opsets.either_problems(self.opset)

    def settle(self, world: World) -> Self:
        _translations.settle({**self.translations, **self.symbolics}, world)
        return self

    def identity(self, world: World) -> Mapping[str, Any]:
        named = {name: _translations.identity(getattr(self, name), world) for name in ("translations", "symbolics")}
        return {**asdict(self), **named}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        program = inputs["program"]
        names = self.translations if program.kind is Kind.EXPORTED else self.symbolics
        return _exporters.to_onnx(program, inputs["reference"], self.opset, Options(names, self.keep_source), folder)
