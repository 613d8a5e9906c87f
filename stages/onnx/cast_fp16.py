"""Casts an ONNX graph to half precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import listed
from pipeline.stage import Stage
from stages.formats import graphs, ignored
from stages.formats.ignored import Ignored
from stages.onnx import cast, denominators
from stages.onnx import file as onnx_file
from stages.onnx.format import ONNX


@dataclass(frozen=True)
class CastFp16(Stage):
    """Weights and computation in float16; inputs and outputs keep their types.

    Where a small constant guards a denominator, the operations that compute it and the division stay in float32.

    Args:
        ignored: Operations that stay in float32, besides those that onnxruntime's converter never casts. Values between
            two such operations stay in float32 too.
        wide: Types of operations whose values can exceed float16, such as Exp: they stay in float32 too.

    Source: onnxruntime/transformers/float16.py.
    """

    ignored: Ignored
    wide: list[str]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"graph": frozenset({ONNX})}
    produces: ClassVar[Kind | str] = ONNX
    requires: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        from onnx import TensorProto

        source = inputs["graph"]
        left_alone = self.ignored.within(graphs.read(source))
        model = onnx_file.read(source.file)
        onnx_file.name_nodes(model)
        guarded = {*denominators.in_float32(model)}
        wide = [n.name for n in model.graph.node if n.op_type in self.wide or n.name in guarded]
        model = cast.to_float16(model, [*left_alone, *wide])
        halves, weights = cast.weights_of_type(model, TensorProto.FLOAT16)
        facts = {"storage": "float16", ignored.FACT: asdict(self.ignored)}
        onnx_file.stamp(model, {**source.facts, **facts})
        onnx_file.write(model, folder)
        says = f"{halves} of {weights} floating-point weights in float16"
        says += f"; for their range, in float32: {listed(wide, 4)}" if wide else ""
        return Artifact(ONNX, folder, facts=facts, notes={"says": says})
