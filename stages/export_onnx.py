"""Exports a captured program to ONNX with torch's dynamo exporter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem
from pipeline.stage import Stage, World
from stages import _native_output, _onnx_file, _opsets, _translations, _unsupported
from stages._interface import Dim, Input

OPSETS = _opsets.DYNAMO


@dataclass(frozen=True)
class ExportOnnx(Stage):
    """torch.onnx.export(dynamo=True) on an exported program; folds constants and batch norms as it goes.

    Args:
        translations: Operator, such as my_ns::my_op, to the dotted path of an onnxscript function that is used for it.
        keep_source: Whether nodes keep the stack traces of the model's code, absolute paths and all.

    Source: https://docs.pytorch.org/docs/stable/onnx_export.html
    """

    opset: int
    inputs: dict[str, Input]
    dims: dict[str, Dim]
    outputs: list[str]
    translations: dict[str, str]
    keep_source: bool

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"program": frozenset({Kind.EXPORTED})}
    produces: ClassVar[Kind | str] = Kind.ONNX
    requires: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxscript")

    def problems(self) -> list[Problem]:
        found = _translations.problems(self.translations, overloads=True)
        if self.opset in OPSETS:
            return found
        lower = "; capture=trace writes 7 to 23" if 7 <= self.opset < OPSETS.start else ""
        return [
            *found,
            Problem(
                f"opset is {self.opset}, which the dynamo exporter does not write",
                allowed=f"{OPSETS.start} to {OPSETS.stop - 1}{lower}",
                command=f"opset={self.opset} capture=trace"
                if lower
                else f"opset={min(max(self.opset, OPSETS.start), OPSETS.stop - 1)}",
            ),
        ]

    def settle(self, world: World) -> Self:
        _translations.settle(self.translations, world)
        return self

    def identity(self, world: World) -> Mapping[str, Any]:
        return {**asdict(self), "translations": _translations.identity(self.translations, world)}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        import torch

        source = inputs["program"]
        names = tuple({i: d for i, d in enumerate(spec.shape) if isinstance(d, str)} for spec in self.inputs.values())
        with _native_output.to_log():
            program = source.live
            if program is None:
                program = _translations.load(lambda: torch.export.load(source.file), source.facts)
            table = _translations.for_dynamo(self.translations)
            with _unsupported.by_dynamo(self.opset):
                exported = torch.onnx.export(
                    program,
                    dynamo=True,
                    opset_version=self.opset,
                    input_names=list(self.inputs),
                    output_names=self.outputs,
                    dynamic_shapes=names,
                    custom_translation_table=table,
                    verbose=False,
                )
        assert exported is not None
        model = exported.model_proto
        if not self.keep_source:
            _onnx_file.strip(model)
        _onnx_file.stamp(model, source.facts)
        _onnx_file.write(model, folder)
        _onnx_file.hold_to(model, wanted_opset=self.opset, inputs=self.inputs, outputs=self.outputs)
        says = f"opset {self.opset}, {len(model.graph.node)} nodes"
        return Artifact(Kind.ONNX, folder, facts={"opset": self.opset}, notes={"says": says})
