"""Exports a traced or scripted module to ONNX with torch's TorchScript exporter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.stage import Stage
from stages.capture import opsets
from stages.capture.format import TORCHSCRIPT
from stages.onnx import exporters
from stages.onnx.exporters import Options
from stages.onnx.exporting.translations import Translations
from stages.onnx.format import ONNX


@dataclass(frozen=True)
class ExportTorchscript(Stage):
    """torch.onnx.export(dynamo=False) on a TorchScript module: the only way to opsets below 18.

    Args:
        opset: The opset that the file declares; read back from it.
        translations: Operator, such as my_ns::my_op, to the dotted path of the symbolic function that translates it.
        keep_source: Whether nodes keep the stack traces of the model's code, with the names of files.

    Source: https://docs.pytorch.org/docs/stable/onnx_torchscript.html
    """

    opset: Annotated[int, opsets.BY_TORCHSCRIPT]
    translations: Annotated[dict[str, str], Translations(overloads=False)]
    keep_source: bool

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "program": frozenset({TORCHSCRIPT}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces: ClassVar[Kind | str] = ONNX
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "onnx", "safetensors")

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        options = Options(self.translations, self.keep_source)
        return exporters.by_torchscript(inputs["program"], inputs["reference"], self.opset, options, folder)
