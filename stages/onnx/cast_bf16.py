"""Casts an ONNX graph to bfloat16."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import StageError, listed
from pipeline.stage import Stage
from stages.formats import graphs, ignored
from stages.formats.ignored import Ignored
from stages.onnx import cast as onnx_cast
from stages.onnx import file as onnx_file
from stages.onnx.format import ONNX
from stages.portable.vendor_errors import first_line

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class CastBf16(Stage):
    """Weights and computation in bfloat16; inputs and outputs keep their types.

    Operations that ONNX does not define for bfloat16 at the graph's opset stay in float32: Where and Einsum at every
    opset. If such an operation multiplies weights, as a convolution does before opset 22, the stage fails.

    Args:
        ignored: Operations that stay in float32, besides those that onnxruntime's converter never casts. Values between
            two such operations stay in float32 too.

    Source: the type constraints of https://onnx.ai/onnx/operators/, as in the onnx package.
    """

    ignored: Ignored

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"graph": frozenset({ONNX})}
    produces: ClassVar[Kind | str] = ONNX
    requires: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        import onnx
        from onnx import TensorProto

        source = inputs["graph"]
        left_alone = self.ignored.within(graphs.read(source))
        model = onnx_file.read(source.file)
        onnx_file.name_nodes(model)
        without = _without_bfloat16(model)
        _check_opset(model, [n for n in without if n.name not in left_alone])
        model = onnx_cast.to_bfloat16(model, [*left_alone, *(n.name for n in without)])
        cast, weights = onnx_cast.weights_of_type(model, TensorProto.BFLOAT16)
        facts = {"storage": "bfloat16", ignored.FACT: asdict(self.ignored)}
        onnx_file.stamp(model, {**source.facts, **facts})
        path = onnx_file.write(model, folder)
        try:
            onnx.checker.check_model(str(path), full_check=True)
        except Exception as e:  # onnx raises anything; the body of a Loop may have an operation without bfloat16
            raise StageError(f"this graph cannot be in bfloat16: {first_line(e)}", command="precision=fp16") from e
        counts = collections.Counter(n.op_type for n in without)
        says = f"{cast} of {weights} floating-point weights in bfloat16"
        says += f"; ONNX has no {listed(f'{t} ({n}×)' for t, n in counts.items())} in it" if counts else ""
        return Artifact(ONNX, folder, facts=facts, notes={"says": says})


def _without_bfloat16(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that ONNX defines for float32 at the graph's opset, and not for bfloat16."""
    import onnx
    from onnxruntime.transformers.float16 import ALWAYS_FLOAT_INPUTS

    opset, nodes = onnx_file.opset(model), []
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            continue
        schema = onnx.defs.get_schema(node.op_type, opset, "")
        allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
        fixed = ALWAYS_FLOAT_INPUTS.get(node.op_type, [])
        ports = [p for p, i in zip(schema.inputs, node.input, strict=False) if i]
        ports = [p for p in ports if p not in [schema.inputs[i] for i in fixed]]
        types = [allowed.get(p.type_str, [p.type_str]) for p in (*ports, *schema.outputs)]
        if any("tensor(float)" in t and "tensor(bfloat16)" not in t for t in types):
            nodes.append(node)
    return nodes


def _check_opset(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    """Raises StageError where weights would be multiplied in float32 because the opset is too low."""
    weighted = collections.Counter(n.op_type for n in nodes if n.op_type in graphs.WEIGHTED)
    if weighted:
        raise StageError(
            f"ONNX has no {listed(f'{t} ({n}×)' for t, n in weighted.items())} in bfloat16 at opset "
            f"{onnx_file.opset(model)}",
            allowed="opset 22 and up, or 'stages.cast.ignored.types' with what may stay in float32",
            command="opset=22, or precision=fp16",
        )
