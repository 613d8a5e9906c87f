"""Casts an ONNX graph to half precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import StageError, listed, nearest
from pipeline.stage import Stage
from stages import _onnx_file


@dataclass(frozen=True)
class CastFp16(Stage):
    """Weights and computation in float16; inputs and outputs keep their types.

    Args:
        keep_in_fp32: Operator types that are left alone, on top of those that onnxruntime's converter always leaves.

    Source: onnxruntime/transformers/float16.py.
    """

    keep_in_fp32: list[str]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"graph": frozenset({Kind.ONNX})}
    produces: ClassVar[Kind | str] = Kind.ONNX
    requires: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        from onnx import TensorProto
        from onnxruntime.transformers import float16

        source = inputs["graph"]
        present = {node.op_type for node in _onnx_file.read(source.file, weights=False).graph.node}
        if absent := [name for name in self.keep_in_fp32 if name not in present]:
            raise StageError(
                f"keep_in_fp32 names {listed(absent)}{nearest(absent[0], present)}, which no node of this graph is",
                allowed=listed(sorted(present), 40),
            )
        model = float16.convert_float_to_float16(
            _onnx_file.read(source.file),
            keep_io_types=True,
            op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *self.keep_in_fp32],
        )
        floating = (TensorProto.FLOAT, TensorProto.FLOAT16)
        weights = [i.data_type for i in model.graph.initializer if i.data_type in floating]
        halves = weights.count(TensorProto.FLOAT16)
        if weights and not halves:
            raise StageError(f"none of the {len(weights)} floating-point weights became float16")
        _onnx_file.stamp(model, source.facts)
        _onnx_file.write(model, folder)
        says = f"{halves} of {len(weights)} floating-point weights in float16"
        return Artifact(Kind.ONNX, folder, facts={"storage": "float16"}, notes={"says": says})
